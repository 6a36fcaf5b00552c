import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import assay

MODULES = ("data", "errors")
COLD = """
import json, sys
SLOW = ["matplotlib", "numpy", "polars", "scipy", "skimage", "sklearn", "timm", "torch", "torchvision", "zarr"]
def slow():
    return [name for name in SLOW if name in sys.modules]
import assay
found = {"imported": slow()}
@assay.register
class Lime:
    mine: int = 3
found["built"] = repr(assay.build("KernelShap(samples=30, segments=Grid(rows=3, columns=3), background=Constant(0.5))"))
found["known"] = list(assay.registered(object))
found["afterwards"] = slow()
@assay.register
class Gradient:
    mine: int = 4
found["mine"] = [repr(assay.build(name)) for name in ("Lime", "Gradient")]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def cold():
    """What a process finds that has imported nothing before."""
    return json.loads(subprocess.run([sys.executable, "-c", COLD], capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize("name", assay.__all__)
def test_a_public_name_is_what_its_module_defines(name):
    home = importlib.import_module(assay._HOMES[name])
    found = getattr(assay, name)
    assert found is (home if name in MODULES else getattr(home, name))
    assert name in MODULES or found.__module__ == home.__name__


def test_type_checkers_see_the_names_that_are_there_at_run_time():
    seen = {
        alias.asname: f"assay.{alias.name}" if node.module == "assay" else node.module
        for node in ast.walk(ast.parse(Path(assay.__file__).read_text()))
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "assay"
        for alias in node.names
    }
    assert seen == assay._HOMES


def test_the_names_are_listed():
    assert {*assay.__all__, "__version__"} <= set(dir(assay))


def test_whatever_an_explainer_a_measure_or_diet_is_made_of_is_public():
    parts = {
        name
        for name, cls in assay.registered(object).items()
        if cls.__module__.startswith(("assay.explain.", "assay.measure.", "assay.tune."))
    }
    assert parts <= set(assay.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'assay' has no attribute 'Gradiant'"):
        assay.Gradiant  # noqa: B018


def test_importing_the_package_imports_nothing_slow(cold):
    assert cold["imported"] == []


def test_a_spec_is_built_by_a_process_that_has_imported_nothing(cold):
    assert cold["built"].startswith("KernelShap(samples=30, segments=Grid(rows=3, columns=3), background=Constant(value=0.5)")


def test_every_class_that_the_package_registers_is_known_from_the_start(cold):
    written = {
        node.name
        for path in Path(assay.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and any(isinstance(one, ast.Name) and one.id == "register" for one in node.decorator_list)
    }
    assert len(written) > 80
    assert set(cold["known"]) == written


def test_knowing_all_classes_imports_no_library_that_few_of_them_use(cold):
    assert cold["afterwards"] == ["numpy", "polars", "torch"]


def test_a_users_class_stands_before_the_packages_of_its_name(cold):
    assert cold["mine"] == ["Lime(mine=3)", "Gradient(mine=4)"]


def test_what_comes_before_the_first_image_loads_no_plots_and_no_statistics():
    slow = "[name for name in ('matplotlib', 'scipy.stats') if name in sys.modules]"
    code = f"import sys, assay.study.explain, assay.study.audit.study; print({slow})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"

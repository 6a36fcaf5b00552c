"""Code of the user's own is imported by file, by module, or as an installed plugin, and then specs can name what it registers."""

import importlib.metadata
import sys

import pytest

import assay
from assay.core import plugins, registry
from assay.errors import AssayWarning, SpecError

CODE = """
from typing import ClassVar
from beside import factor
from assay import Explainer, Gradient, register

@register
class {name}(Explainer):
    \"\"\"Times a factor.\"\"\"

    by: float = factor
    category: ClassVar[str] = "gradient"
    needs: ClassVar[frozenset[str]] = frozenset({{"gradient"}})
    reference: ClassVar[str] = "ours"

    def attribute(self, model, images, targets, index, seed):
        return Gradient().attribute(model, images, targets, index, seed) * self.by
"""


@pytest.fixture
def code(tmp_path, monkeypatch):
    """Writes a module that registers a class of that name; all is forgotten afterwards."""
    (tmp_path / "beside.py").write_text("factor = 3.0\n")

    def write(name, file="mine.py"):
        (tmp_path / file).write_text(CODE.format(name=name))
        return tmp_path / file

    yield write
    for name in ("mine", "other", "announced", "beside"):
        sys.modules.pop(name, None)
    for name in [name for name in registry._REGISTRY if name.startswith("Scaled")]:
        del registry._REGISTRY[name]


def test_a_file_is_imported_once_with_what_stands_beside_it(code):
    path = code("ScaledByFile")
    before = list(sys.path)
    plugins.import_code(str(path))
    plugins.import_code(str(path))
    assert repr(assay.build("ScaledByFile(by=2)")) == "ScaledByFile(by=2)"
    assert assay.build("ScaledByFile").by == 3.0
    assert type(assay.build("ScaledByFile")).__module__ == "mine"
    assert sys.path == before


def test_a_module_is_found_from_the_current_directory(code, tmp_path, monkeypatch):
    code("ScaledByModule", "other.py")
    monkeypatch.chdir(tmp_path)
    plugins.import_code("other")
    assert assay.build("ScaledByModule").by == 3.0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone.py", r"cannot import .*gone\.py: there is no such file"),
        ("no_such_thing", "cannot import no_such_thing: ModuleNotFound"),
    ],
)
def test_what_is_not_there_is_named(name, message):
    with pytest.raises(SpecError, match=message):
        plugins.import_code(name)


def test_what_fails_is_named_with_its_error(tmp_path):
    (tmp_path / "bad.py").write_text("1 / 0\n")
    with pytest.raises(SpecError, match=r"cannot import .*bad\.py: ZeroDivisionError: division by zero"):
        plugins.import_code(str(tmp_path / "bad.py"))
    assert "bad" not in sys.modules


def test_installed_packages_announce_theirs(code, tmp_path, monkeypatch):
    code("ScaledByPlugin", "announced.py")
    points = [
        importlib.metadata.EntryPoint("good", "announced", plugins.GROUP),
        importlib.metadata.EntryPoint("bad", "nowhere", plugins.GROUP),
    ]
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: points if group == "assay.plugins" else [])
    with pytest.warns(AssayWarning, match="the plugin bad is left out: ModuleNotFoundError"):
        plugins.import_plugins()
    assert assay.build("ScaledByPlugin").by == 3.0

import ast
import importlib
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

import assay

ROOT = Path(assay.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
ONE_CONCEPT = {
    "FORMS": "the differentiable forms that a module of attack/forms has for explainers",
    "load": "the contract names them: assay.load takes a model, assay.data.load a data set",
}
"""Public names that stand in several modules, and what they have in common there."""
SAME_ROLE = {
    "base": "what every attack, data set, explainer or measure is",
    "compare": "a command, and what it starts",
    "doctor": "a command, and what it starts",
    "findings": "what all blocks of a study come to",
    "networks": "the networks of a paper's study",
    "settings": "every choice of a paper's study as one checked value, and what these share",
    "shown": "the images that a study's report shows",
    "statistics": "what a study's summary is reckoned with",
    "study": "a study and how it is run; `assay study`, which starts the papers'",
    "tables": "the tables of a study",
    "train": "a study, and what its command is told beside its fields",
    "tune": "a study, and what its command is told beside its fields",
    "verdict": "plain words for what a study found, by printed rules",
}
"""Names of files that stand in several folders, and their role there; any other names one file."""
CALLED_BY_USERS = {
    "Classifier.__init__",
    "Measure.__call__",
    "attack_curve",
    "audit",
    "certify",
    "compare",
    "frontier",
    "network",
}
"""What the contract calls with more than eight parameters, all but the first ones by name."""
READS_TEXT = {
    "bench/doctor.py": "what an error says before its details",
    "bench/exam/small_networks.py": "split of a tensor",
    "bench/document.py": "marks of a document between which tables go",
    "cli/entry.py": "words of a command line",
    "cli/fields.py": "sections of a docstring, which are the help",
    "cli/tasks/images.py": "the scheme of a source, hf:",
    "cli/tasks/options.py": "the scheme of a model, python:, and numbers with commas between them",
    "cli/told.py": "lines of a cell",
    "papers/diet/networks.py": "names of a state's tensors",
    "papers/robustness/networks.py": "files' names",
    "report/export.py": "a table's columns of an interval's ends, by the rule of their names",
    "report/figures/frontier_plot.py": "matplotlib's own labels",
    "report/figures/show.py": "lines of a title",
    "report/text.py": "digits of a number",
    "run/begin.py": "files' names",
    "run/lock.py": "what a lock's file holds",
    "run/log.py": "whole lines of a log",
    "run/status.py": "files' names",
}
"""Where rooms that judge, tell and show look into texts, and what these are; nothing else may be decided by what a label begins with."""


@cache
def trees():
    """Every file's syntax tree; not at import, which is every process's."""
    return {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in FILES}


def functions(tree):
    """(name, node) of all functions, methods with their class."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield from ((f"{node.name}.{one.name}", one) for one in node.body if isinstance(one, ast.FunctionDef))
    methods = {id(one) for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for one in node.body}
    yield from ((node.name, node) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and id(node) not in methods)


def parameters(node):
    """How many a function takes, itself left out."""
    every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return len([one for one in every if one.arg not in ("self", "cls")]) + bool(node.args.vararg) + bool(node.args.kwarg)


def imports(path, tree):
    """Modules of the package that a module imports at its top, for type checkers alone or not; what functions import is not among them."""
    conditional = [one for node in tree.body if isinstance(node, ast.If) for one in node.body]
    for node in (*tree.body, *conditional):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "assay":
            for alias in node.names:
                whole, file = f"{node.module}.{alias.name}", f"{node.module}".removeprefix("assay").lstrip(".")
                inner = whole.removeprefix("assay.").replace(".", "/") + ".py"
                yield inner if inner in trees() else file.replace(".", "/") + ".py"


def public(tree):
    """Names that a module defines for others."""
    defined, listed = set(), set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined.add(node.name)
            listed |= {node.name} - {name for name in [node.name] if name.startswith("_")}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = {one.id for target in targets for one in ast.walk(target) if isinstance(one, ast.Name)}
            defined |= names
            if "__all__" in names and isinstance(node.value, ast.List):
                listed |= set(ast.literal_eval(node.value))
    return defined & listed


def test_a_public_name_has_one_meaning():
    homes = defaultdict(set)
    for path, tree in trees().items():
        for name in public(tree):
            homes[name].add(path)
    assert {name: sorted(places) for name, places in homes.items() if len(places) > 1 and name not in ONE_CONCEPT} == {}
    assert all(len(homes[name]) > 1 for name in ONE_CONCEPT)


def test_a_files_name_stands_in_several_folders_only_for_the_same_role():
    homes = defaultdict(list)
    for path in FILES:
        homes[path.stem].append(path.relative_to(ROOT).as_posix())
    many = {stem: places for stem, places in homes.items() if len(places) > 1 and not stem.startswith("__")}
    assert {stem: places for stem, places in many.items() if stem not in SAME_ROLE} == {}
    assert many.keys() == SAME_ROLE.keys()


@pytest.mark.parametrize("folder", sorted({path.parent for path in FILES}), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_folder_has_at_most_fourteen_modules(folder):
    assert len([path for path in folder.glob("*.py") if path.name != "__init__.py"]) <= 14


def test_a_file_has_at_most_four_hundred_lines():
    lines = {path: (ROOT / path).read_text(encoding="utf-8").count("\n") for path in trees()}
    assert {path: many for path, many in lines.items() if many > 400} == {}


def test_no_room_holds_more_than_fifteen_percent_of_the_lines():
    lines = defaultdict(int)
    for path in FILES:
        lines[path.relative_to(ROOT).parts[0]] += len(path.read_text(encoding="utf-8").splitlines())
    assert {room: many for room, many in lines.items() if many > 0.15 * sum(lines.values())} == {}


def test_a_function_takes_at_most_eight_parameters():
    long = {name for tree in trees().values() for name, node in functions(tree) if parameters(node) > 8}
    assert long == CALLED_BY_USERS


def test_nothing_private_is_imported_across_files():
    found = [
        f"{path}: {alias.name}"
        for path, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "assay"
        for alias in node.names
        if alias.name.startswith("_") and not alias.name.startswith("__")
    ]
    assert found == []


def test_commands_of_several_options_are_dataclasses():
    by_hand = [
        f"{path}: {name}"
        for path, tree in trees().items()
        if path.startswith("cli/commands/")
        for name, node in functions(tree)
        if parameters(node) > 8
    ]
    assert by_hand == []


def test_no_module_imports_itself_through_others_not_even_for_types():
    waits = {path: {one for one in imports(path, tree) if one in trees() and one != path} for path, tree in trees().items()}
    assert waits["study/audit/study.py"] > {"study/study.py", "study/audit/findings.py"}
    # What waits for nothing that is left goes; a circle, and what waits for it, stays.
    while free := {path for path, others in waits.items() if not others & waits.keys()}:
        waits = {path: others for path, others in waits.items() if path not in free}
    assert waits == {}


def unused(method):
    """Names of a method's arguments that its body does not use; none where there is no body."""
    if all(isinstance(one, ast.Raise | ast.Expr) for one in method.body):
        return set()
    used = {one.id for part in method.body for one in ast.walk(part) if isinstance(one, ast.Name)}
    return {one.arg for one in (*method.args.args, *method.args.kwonlyargs) if not one.arg.startswith("_")} - used - {"self", "cls"}


def below(kind):
    """All subclasses."""
    return {one for own in kind.__subclasses__() for one in (own, *below(own))}


def test_a_method_ignores_an_argument_only_where_the_same_method_of_another_class_takes_it():
    classes = [(path, node) for path, tree in trees().items() for node in tree.body if isinstance(node, ast.ClassDef)]
    modules = {path: importlib.import_module(f"assay.{path[:-3].replace('/', '.')}") for path, _ in classes}
    idle = [
        (getattr(modules[path], node.name), one)
        for path, node in classes
        for one in node.body
        if isinstance(one, ast.FunctionDef) and unused(one)
    ]
    alone = [
        f"{kind.__qualname__}.{one.name}: {', '.join(sorted(unused(one)))}"
        for kind, one in idle
        if not any(one.name in vars(other) for other in (*kind.__mro__[1:], *below(kind)))
    ]
    assert alone == []


def test_images_of_studies_are_read_in_one_place_and_kept_by_one_loop_beside_that_over_a_papers_networks():
    calls = [(path, node.func) for path, tree in trees().items() for node in ast.walk(tree) if isinstance(node, ast.Call)]
    reads = {path for path, one in calls if isinstance(one, ast.Attribute) and ast.unparse(one).endswith("source.read")}
    assert reads == {"study/asked.py"}
    keeps = {path for path, one in calls if isinstance(one, ast.Name) and one.id == "BlockContent"}
    assert keeps == {"study/study.py", "papers/robustness/study.py"}


def looks_into_text(node):
    """Whether a call asks what a text begins with, ends with or holds, or cuts it at some mark."""
    asks = {"startswith", "endswith", "removeprefix", "removesuffix", "partition", "rpartition", "starts_with", "ends_with", "contains"}
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return False
    return node.func.attr in asks or (node.func.attr in ("split", "rsplit") and bool(node.args))


def test_what_a_row_means_stands_in_its_columns_and_not_in_its_labels():
    rooms = {"stats", "report", "run", "study", "comparison", "papers", "bench", "cli"}
    found = {path for path, tree in trees().items() if path.split("/")[0] in rooms and any(map(looks_into_text, ast.walk(tree)))}
    assert found == READS_TEXT.keys()


def defined(tree):
    """Names of a module, those of its classes' bodies as Class.name."""
    for node in tree.body:
        names = {one.id for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)}
        yield from names if isinstance(node, ast.Assign | ast.AnnAssign) else ()
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
            yield from (f"{node.name}.{one.name}" for one in getattr(node, "body", ()) if isinstance(one, ast.FunctionDef))


def test_the_map_of_the_house_names_what_is_there():
    named = re.findall(r"`([\w/]+\.py):([\w.]+)`", (ROOT.parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    assert len(named) > 20
    assert [f"{path}:{name}" for path, name in named if name not in set(defined(trees()[path]))] == []

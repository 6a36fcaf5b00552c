import ast
from pathlib import Path

import assay

ROOT = Path(assay.__file__).parent
ORDER = [
    "errors",
    "core",
    "stats",
    "data",
    "models",
    "explain",
    "attack",
    "measure",
    "bounds",
    "tune",
    "report",
    "run",
    "study",
    "comparison",
    "papers",
    "bench",
    "ray",
    "cli",
]
FILES = sorted(ROOT.rglob("*.py"))


def layer(path):
    """The folder (or top-level module) of the package that a file belongs to; None for the package's own entrances."""
    first = path.relative_to(ROOT).parts[0].removesuffix(".py")
    return None if first in ("__init__", "__main__") else first


def imported(path):
    """(line, layer) of each import of the package, wherever in the file it stands."""
    package = ("assay", *path.relative_to(ROOT).with_suffix("").parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            prefix = ".".join([*package[: len(package) - node.level], *filter(None, [node.module])]) if node.level else node.module
            names = [prefix] if prefix.count(".") else [f"{prefix}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.split(".")[0] == "assay":
                yield node.lineno, [*name.split("."), None][1]


def test_a_file_imports_only_from_its_own_folder_and_those_before_it():
    wrong = []
    for path in filter(layer, FILES):
        allowed = [*ORDER[: ORDER.index(layer(path)) + 1], "__version__"]
        wrong += [f"{path.relative_to(ROOT)}, line {line}: {name}" for line, name in imported(path) if name not in allowed]
    assert wrong == []


def test_every_folder_has_its_place_in_the_order():
    folders = {layer(path) for path in FILES} - {None}
    assert folders <= set(ORDER)


def test_the_walk_sees_the_imports():
    seen = {name for path in FILES if layer(path) == "explain" for _, name in imported(path)}
    assert {"core", "models", "errors"} <= seen

"""Registered objects and their specs: `repr` writes a spec, `build` reads it; nothing is ever evaluated."""

from __future__ import annotations

import ast
import dataclasses
import difflib
import functools
import importlib
import math
import operator
import pkgutil
import re
import types
import typing
from collections.abc import Callable
from typing import Any, TypeVar, cast, dataclass_transform, overload

import numpy as np

from assay.core.plugins import import_plugins
from assay.errors import SpecError

T = TypeVar("T")

_PACKAGE = __name__.partition(".")[0]
_REGISTRY: dict[str, type[Any]] = {}
_UNLISTED: set[str] = set()
_LIBRARIES: dict[str, Callable[[str, tuple[Any, ...], dict[str, Any]], Any]] = {}
_PREFIXED = re.compile(r"""('(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")|\b([a-z]+):(?=[A-Za-z_])""")
"""A text, which stays as it is, or the library before a name, as in `captum:Occlusion`."""
_OF = "__of__"
MOST = 10_000_000
"""The largest count or size that any parameter takes: what is beyond would not end."""
_WHOLE, _LONG = 1 << 63, 120
_WITHOUT = ("stats", "report", "run", "study", "comparison", "papers", "bench", "cli")
"""Folders of the package that define nothing for specs and take long to import."""
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


@dataclass_transform(frozen_default=True)
def register(cls: type[T]) -> type[T]:
    """Make `cls` a frozen dataclass that checks its parameters' types and that specs can name.

    Args:
        cls: A class with annotated fields; its `repr` becomes a spec of it.

    Raises:
        SpecError: At construction, when a parameter has another type than its annotation.
    """
    own_check = getattr(cls, "__post_init__", None)

    def __post_init__(self: Any) -> None:  # noqa: N807
        _check_types(self)
        if own_check is not None:
            own_check(self)

    cls.__post_init__ = __post_init__  # type: ignore[attr-defined]
    made = dataclasses.dataclass(frozen=True)(cls)
    # A class of the user's stands before the package's of that name, whichever was imported first.
    if made.__module__.partition(".")[0] != _PACKAGE or made.__name__ not in _REGISTRY:
        _REGISTRY[made.__name__] = made
    return made


@dataclass_transform(frozen_default=True)
def stand_in(cls: type[T]) -> type[T]:
    """`register` for a class that stands for what comes from elsewhere: specs can name it, `registered` does not list it."""
    made = register(cls)
    _UNLISTED.add(made.__name__)
    return made


# Bases are typed as what makes a T: mypy lets no abstract class stand for a type[T], which could be called.
def registered(base: Callable[..., T]) -> dict[str, type[T]]:
    """Names and classes of everything registered that is a `base`, sorted by name: the package's own and what was imported beside it.

    Stand-ins for what comes from elsewhere are left out, though specs can name them (`stand_in`).
    """
    _import_own()
    kind = cast("type[T]", base)
    return {name: cls for name, cls in sorted(_REGISTRY.items()) if issubclass(cls, kind) and name not in _UNLISTED}


def register_library(name: str, make: Callable[[str, tuple[Any, ...], dict[str, Any]], Any]) -> None:
    """Let specs name what another library has, as `name:Thing(...)`.

    Args:
        name: What stands before the colon, in small letters.
        make: Gives the object of a thing's name, its parameters by position and those by name.
    """
    _LIBRARIES[name] = make


@overload
def build(spec: str) -> Any: ...
@overload
def build(spec: str, base: Callable[..., T]) -> T: ...
def build(spec: str, base: Any = object) -> Any:
    """Turn a spec such as `"SmoothGrad(sigma=0.03, samples=30)"` into the object that it describes.

    Args:
        spec: A registered name, or that of a library's thing such as `captum:Occlusion`, with parameters in parentheses where
            wanted. Values are numbers (arithmetic such as `8/255` included), strings, `True`, `False`, `None`, tuples, lists
            and nested specs.
        base: What the object must be.

    Raises:
        SpecError: The text is no spec, a name or parameter is unknown, or the object is not a `base`.
    """
    try:
        node = ast.parse(_PREFIXED.sub(lambda found: found[1] or f"{found[2]}{_OF}", spec.strip()), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise SpecError(f"cannot read the spec {spec!r}: write it like SmoothGrad(sigma=0.03)") from error
    if not isinstance(node, ast.Name | ast.Call):
        raise SpecError(f"the spec {spec!r} does not begin with a name such as SmoothGrad")
    try:
        value = _value(node, spec, base)
    except RecursionError as error:
        raise SpecError(f"the spec {spec!r} is nested too deeply") from error
    if not isinstance(value, base):
        known = ", ".join(registered(base))
        raise SpecError(f"{spec!r} is not {_article(base.__name__)}; choose one of {known}")
    return value


def plain_name(spec: str) -> str:
    """A spec without its parameters: the name that it begins with."""
    return spec.partition("(")[0]


def short(obj: Any) -> str:
    """The spec of `obj` with only the parameters that differ from their defaults, for tables and labels, or its own `short_name`."""
    if (own := getattr(obj, "short_name", None)) is not None:
        return str(own)
    parts = []
    for field in dataclasses.fields(obj):
        value = getattr(obj, field.name)
        if field.default is not dataclasses.MISSING and field.default == value:
            continue
        if field.default_factory is not dataclasses.MISSING and field.default_factory() == value:
            continue
        text = short(value) if dataclasses.is_dataclass(value) else repr(value)
        parts.append(f"{field.name}={text}")
    name = type(obj).__name__
    return f"{name}({', '.join(parts)})" if parts else name


def field_values(obj: Any) -> dict[str, Any]:
    """The fields of a dataclass's object by name, as they are."""
    return {field.name: getattr(obj, field.name) for field in dataclasses.fields(obj)}


def changed(obj: T, **changes: Any) -> T:
    """The object with other values of some fields: `dataclasses.replace` for what is only known by its base."""
    own: Any = obj
    made: T = dataclasses.replace(own, **changes)
    return made


def check_at_least(obj: object, low: float, *names: str) -> None:
    """Raise SpecError unless each named number of `obj` is None or finite and >= `low`, and no count beyond `MOST`."""
    for name in names:
        value = getattr(obj, name)
        if value is not None and not (_finite(value) and value >= low):
            raise SpecError(f"{type(obj).__name__}: {name} must be at least {low:g}, not {value!r}")
        check_at_most(obj, MOST, name)


def check_at_most(obj: object, high: int, *names: str) -> None:
    """Raise SpecError where a named number of `obj` is a whole number above `high`."""
    for name in names:
        value = getattr(obj, name)
        if isinstance(value, int) and value > high:
            raise SpecError(f"{type(obj).__name__}: {name} must be at most {high:,}, not {value:,}")


def check_positive(obj: object, *names: str) -> None:
    """Raise SpecError unless each named number of `obj` is None or finite and > 0."""
    for name in names:
        value = getattr(obj, name)
        if value is not None and not (_finite(value) and value > 0):
            raise SpecError(f"{type(obj).__name__}: {name} must be positive, not {value!r}")
        check_at_most(obj, MOST, name)


def check_choice(obj: object, name: str, choices: tuple[str, ...]) -> None:
    """Raise SpecError unless the named text of `obj` is one of `choices`."""
    value = getattr(obj, name)
    if value not in choices:
        raise SpecError(f"{type(obj).__name__}: {name} must be one of {', '.join(choices)}, not {value!r}{nearest(value, choices)}")


def nearest(name: object, known: typing.Iterable[str]) -> str:
    """`; did you mean X?` for the known name that is nearest to `name`, or nothing."""
    lowered = {k.lower(): k for k in known}
    found = difflib.get_close_matches(str(name).lower(), lowered, n=1, cutoff=0.5)
    return f"; did you mean {lowered[found[0]]}?" if found else ""


@functools.cache
def _import_own() -> None:
    """Import the modules that register the package's own classes, most of which nobody may have asked for yet, and plugins."""
    package = importlib.import_module(_PACKAGE)
    for folder in pkgutil.iter_modules(package.__path__, f"{_PACKAGE}."):
        if folder.ispkg and folder.name.rpartition(".")[2] not in _WITHOUT:
            for module in pkgutil.walk_packages(importlib.import_module(folder.name).__path__, f"{folder.name}."):
                importlib.import_module(module.name)
    import_plugins()


def _value(node: ast.AST, spec: str, base: type[Any] = object) -> Any:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float | str | None):
        return _sized(node.value, spec)
    if isinstance(node, ast.Tuple | ast.List):
        return tuple(_value(item, spec) for item in node.elts)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_number(node.operand, spec)
    if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        try:
            return _sized(_ARITHMETIC[type(node.op)](_number(node.left, spec), _number(node.right, spec)), spec)
        except ZeroDivisionError as error:
            raise SpecError(f"the spec {spec!r} divides by zero") from error
        except OverflowError as error:
            raise SpecError(f"the spec {spec!r} has a number that is too large") from error
    if isinstance(node, ast.Name) and node.id == "inf":
        return math.inf
    if isinstance(node, ast.Name):
        return _construct(node.id, [], {}, base)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        keywords = {}
        for keyword in node.keywords:
            if keyword.arg is None:
                raise SpecError(f"the spec {spec!r} uses **, which a spec cannot")
            keywords[keyword.arg] = _value(keyword.value, spec)
        return _construct(node.func.id, [_value(arg, spec) for arg in node.args], keywords, base)
    raise SpecError(f"the spec {spec!r} has a part that is no name, number, text or nested spec: {ast.unparse(node)}")


def _sized(value: Any, spec: str) -> Any:
    if isinstance(value, int) and not _in_bits(value):
        raise SpecError(f"the spec {spec if len(spec) < _LONG else spec[:_LONG] + ' ...'!r} has a number of more than 64 bits")
    return value


def _number(node: ast.AST, spec: str) -> Any:
    value = _value(node, spec)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SpecError(f"the spec {spec!r} does arithmetic on {ast.unparse(node)}, which is no number")
    return value


def _construct(name: str, args: list[Any], keywords: dict[str, Any], base: type[Any]) -> Any:
    if name not in _REGISTRY:
        _import_own()
    source, of, thing = name.partition(_OF)
    if of:
        if source not in _LIBRARIES:
            raise SpecError(f"unknown library {source}{nearest(source, _LIBRARIES)} in {source}:{thing} (known: {', '.join(_LIBRARIES)})")
        return _LIBRARIES[source](thing, tuple(args), keywords)
    if name not in _REGISTRY:
        known = registered(base)
        raise SpecError(f"unknown name {name}{nearest(name, known)} (known: {', '.join(known)})")
    cls = _REGISTRY[name]
    fields = [field.name for field in dataclasses.fields(cls) if field.init]
    if len(args) > len(fields):
        raise SpecError(f"{name} takes at most {len(fields)} parameters ({', '.join(fields)}), {len(args)} were given")
    for key in keywords:
        if key not in fields:
            has = f"its parameters are {', '.join(fields)}" if fields else "it has none"
            raise SpecError(f"{name} has no parameter {key}{nearest(key, fields)} ({has})")
    given = dict(zip(fields, args, strict=False))
    twice = given.keys() & keywords.keys()
    if twice:
        raise SpecError(f"{name} is given {', '.join(sorted(twice))} twice")
    given |= keywords
    missing = [
        field.name
        for field in dataclasses.fields(cls)
        if field.init and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING and field.name not in given
    ]
    if missing:
        raise SpecError(f"{name} needs {', '.join(missing)}")
    return cls(**given)


@functools.cache
def _hints(cls: type[Any]) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _check_types(obj: Any) -> None:
    kind: Any = type(obj)
    hints = _hints(kind)
    for field in dataclasses.fields(obj):
        value = _plain(getattr(obj, field.name))
        object.__setattr__(obj, field.name, value)
        if not _fits(value, hints[field.name]):
            wanted = _describe(hints[field.name])
            raise SpecError(f"{type(obj).__name__}: {field.name} must be {wanted}, not {_shown(value)}")


def _shown(value: Any) -> str:
    return "a number of more than 64 bits" if isinstance(value, int) and not _in_bits(value) else repr(value)


def _in_bits(value: int | float) -> bool:
    """Whether it is no whole number that torch, or a float, could not hold."""
    return isinstance(value, float) or -_WHOLE <= value < _WHOLE


def _plain(value: Any) -> Any:
    """Lists as tuples and NumPy's numbers as Python's, whose `repr` a spec can hold."""
    if isinstance(value, np.generic):
        return value.item()
    return tuple(map(_plain, value)) if isinstance(value, list | tuple) else value


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond any float
        return False


def _fits(value: Any, hint: Any) -> bool:
    origin = typing.get_origin(hint)
    if hint is Any:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, option) for option in typing.get_args(hint))
    if origin is typing.Literal:
        return value in typing.get_args(hint)
    if origin is tuple:
        options = typing.get_args(hint)
        if not isinstance(value, tuple):
            return False
        if len(options) == 2 and options[1] is Ellipsis:
            return all(_fits(item, options[0]) for item in value)
        return len(value) == len(options) and all(map(_fits, value, options))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and _in_bits(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool) and _in_bits(value)
    if origin is not None:
        return isinstance(value, origin)
    return isinstance(value, hint) if isinstance(hint, type) else True


def _describe(hint: Any) -> str:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_describe(option) for option in typing.get_args(hint))
    if origin is typing.Literal:
        return "one of " + ", ".join(map(repr, typing.get_args(hint)))
    names = {float: "a number", int: "a whole number", str: "a text", bool: "True or False", type(None): "None"}
    return names.get(hint) or (_article(hint.__name__) if isinstance(hint, type) and origin is None else str(hint))


def _article(noun: str) -> str:
    return f"{'an' if noun[0] in 'AEIOU' else 'a'} {noun}"

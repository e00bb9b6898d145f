"""Plans, and any other frozen attrs values, as JSON and back: the same value, the same bytes.

Reading is strict: what it accepts is what ``to_json()`` writes for that class, and anything else is a RecordError. Only
a field that has a default may be missing, since records outlive the version of bpm that wrote them. Text
may hold bytes that are not UTF-8 (surrogateescape): JSON carries them as ``\\udcXX``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar, get_args, get_origin, get_type_hints, overload

from attrs import NOTHING, fields, has

from bpm.errors import RecordError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpm.plan.model import ProcessPlan

T = TypeVar("T")


def to_json(value: Any, *, indent: int | None = None) -> str:
    """A value as JSON text, ASCII only. Fields keep their order, and sets are sorted.

    Args:
        value: An attrs value whose fields are strings, numbers, tuples, frozensets of strings, mappings of strings,
            None, or such values again.
        indent: Spaces a level; compact and on one line by default.
    """
    import json

    separators = (",", ":") if indent is None else (",", ": ")
    return json.dumps(_plain(value), indent=indent, separators=separators, allow_nan=False)


def digest(value: Any) -> str:
    """64 hexadecimal digits that two values share only if they are equal."""
    from hashlib import sha256

    return sha256(to_json(value).encode("ascii")).hexdigest()


@overload
def from_json(text: str, *, path: str = "<plan>") -> ProcessPlan: ...


@overload
def from_json(text: str, cls: type[T], *, path: str = "<plan>") -> T: ...


def from_json(text: str, cls: type | None = None, *, path: str = "<plan>") -> object:
    """The value that ``to_json()`` wrote.

    Args:
        text: What it wrote.
        cls: The value's class; a ProcessPlan's by default.
        path: What the error names: the file that the text is from.

    Raises:
        RecordError: The text is not one that ``to_json()`` writes for such a value.
    """
    import json

    if cls is None:
        from bpm.plan.model import ProcessPlan as cls
    try:
        read = json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant)
        return _value(cls, read, "")
    except RecursionError:
        raise RecordError(path, "nested too deeply") from None
    except ValueError as error:
        raise RecordError(path, str(error)) from error


def _plain(value: Any) -> Any:
    cls: Any = type(value)
    if has(cls):
        return {field.name: _plain(getattr(value, field.name)) for field in _fields(cls)}
    if isinstance(value, tuple):
        return [_plain(element) for element in value]
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, Mapping):
        return dict(value)
    if value is None or isinstance(value, (str, int, float)):
        return value
    raise TypeError(f"not a value for a record: {value!r}")


@cache
def _fields(cls: type) -> tuple[Any, ...]:
    """A class's fields, save those that do not matter to equality."""
    return tuple(field for field in fields(cls) if field.eq)


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    read = dict(pairs)
    if len(read) != len(pairs):
        raise ValueError("a field is there twice")
    return read


def _refuse_constant(word: str) -> Any:
    raise ValueError(f"not a number: {word}")


def _value(kind: Any, read: Any, where: str) -> Any:
    """What was read, as a value of that type; ``where`` is its place in the text."""
    if get_origin(kind) is tuple:
        return _tuple(get_args(kind), _expect(list, read, where), where)
    if get_origin(kind) is frozenset:
        return frozenset(_tuple((get_args(kind)[0], ...), _expect(list, read, where), where))
    if has(kind):
        return _attrs(kind, _expect(dict, read, where), where)
    if isinstance(kind, type) and issubclass(kind, Mapping):
        items: Any = {name: _expect(str, text, f"{where}.{name}") for name, text in _expect(dict, read, where).items()}
        return kind(items)  # type: ignore[call-arg]
    if isinstance(kind, type):
        return float(read) if kind is float and type(read) is int else _expect(kind, read, where)
    return _either(get_args(kind), read, where)


def _either(kinds: tuple[Any, ...], read: Any, where: str) -> Any:
    """A value of ``X | None``."""
    if read is None and type(None) in kinds:
        return None
    (kind,) = (kind for kind in kinds if kind is not type(None))
    return _value(kind, read, where)


def _attrs(cls: type, read: dict[str, Any], where: str) -> Any:
    known = {field.name: field for field in _fields(cls)}
    for name in read:
        if name not in known:
            raise ValueError(f"unknown field {where}.{name}".replace(" .", " "))
    for name, field in known.items():
        if name not in read and field.default is NOTHING:
            raise ValueError(f"missing field {where}.{name}".replace(" .", " "))
    hints = _hints(cls)
    return cls(**{name: _value(hints[name], element, f"{where}.{name}") for name, element in read.items()})


def _tuple(kinds: tuple[Any, ...], read: list[Any], where: str) -> tuple[Any, ...]:
    if len(kinds) == 2 and kinds[1] is ...:
        kinds = (kinds[0],) * len(read)
    if len(kinds) != len(read):
        raise ValueError(f"{where}: expected {len(kinds)} entries, got {len(read)}")
    pairs = zip(kinds, read, strict=True)
    return tuple(_value(kind, element, f"{where}[{i}]") for i, (kind, element) in enumerate(pairs))


def _expect(kind: type, read: Any, where: str) -> Any:
    # Not isinstance: True is an int to Python, but not to us.
    if type(read) is not kind:
        raise ValueError(f"{where.lstrip('.') or 'the text'}: expected {kind.__name__}, got {type(read).__name__}")
    return read

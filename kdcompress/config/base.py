"""The manners that every configuration class shares: frozen, strict, plain data; and how faults are told."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar, Protocol, get_args, runtime_checkable

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from kdcompress.errors import ConfigError, did_you_mean

_MOST = 8  # faults that are spelled out
_QUOTED = re.compile(r"'([^']*)'")


class Frozen(BaseModel):
    """A configuration that cannot change after it was read and has no unknown keys.

    Attributes:
        also: keys that are taken beside those of the fields.
    """

    also: ClassVar[tuple[str, ...]] = ()

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


@runtime_checkable
class _Kinds(Protocol):
    """What stands in a field's metadata where its keys are validated by the class of their kind."""

    def names(self) -> tuple[str, ...]: ...

    def config(self, kind: str) -> type[Frozen]: ...


def describe_faults(error: ValidationError, model: type[Frozen], data: object) -> str:
    """Return what is wrong with the data, key by key, separated by semicolons."""
    found = [_describe(fault, model, data) for fault in error.errors(include_url=False)]
    more = [f"and {len(found) - _MOST} more"] if len(found) > _MOST else []
    return "; ".join([*found[:_MOST], *more])


def _describe(fault: Any, model: type[Frozen], data: object) -> str:
    keys, classes = _follow(fault["loc"], model, data)
    where, kind, message = ".".join(keys), fault["type"], fault["msg"]
    if kind == "extra_forbidden":
        names = {name for known in classes for name in (*known.model_fields, *known.also)}
        meant = did_you_mean(keys[-1], names) or _elsewhere(keys[-1], model)
        message = f"unknown key{meant}"
    elif kind == "union_tag_invalid":
        tags = _QUOTED.findall(fault["ctx"]["expected_tags"])
        tag = fault["ctx"]["tag"]
        message = f"no kind {tag!r}{did_you_mean(tag, tags)}; there are {', '.join(tags)}"
    elif kind == "value_error":
        message = message.removeprefix("Value error, ")
    elif kind != "missing":
        value = fault["input"]
        meant = did_you_mean(str(value), _QUOTED.findall(message)) if kind == "literal_error" else ""
        message = f"{message}, found {str(value)[:60]!r}{meant}"
    return f"{where}: {message}" if where else message


def _follow(
    location: Sequence[str | int], model: type[Frozen], data: Any
) -> tuple[list[str], list[type[Frozen]]]:
    """Return the keys of a location without the tags of unions, and the classes that own the last of them."""
    keys: list[str] = []
    classes: list[type[Frozen]] = [model]
    owners = classes
    for part in location:
        if any(_tag(known) == part for known in classes):
            continue
        keys.append(str(part))
        owners = classes
        try:
            data = data[part]
        except (LookupError, TypeError):  # it is missing, or its owner is no mapping
            data = None
        fields = [known.model_fields[str(part)] for known in classes if part in known.model_fields]
        if fields:
            classes = [known for field in fields for known in _classes(field)]
        kind = data.get("kind") if isinstance(data, Mapping) else None
        classes = [known for known in classes if _tag(known) == kind] or classes
    return keys, owners


def _classes(field: FieldInfo) -> Iterator[type[Frozen]]:
    """Yield the configurations that a field may hold."""
    for part in (field.annotation, *field.metadata):
        yield from _inside(part)


def _inside(annotation: Any) -> Iterator[type[Frozen]]:
    if isinstance(annotation, type) and issubclass(annotation, Frozen):
        yield annotation
    elif isinstance(annotation, _Kinds):
        for kind in annotation.names():
            with suppress(ConfigError):  # of a package that is broken
                yield annotation.config(kind)
    for part in get_args(annotation):
        yield from _inside(part)


def _tag(model: type[Frozen]) -> Any:
    field = model.model_fields.get("kind")
    return None if field is None else field.default


def _elsewhere(key: str, model: type[Frozen]) -> str:
    """Return where a key would be known."""
    paths = sorted({path for path in _paths(model, ()) if path.rpartition(".")[2] == key}, key=len)
    return f" (did you mean {paths[0]}?)" if paths else ""


def _paths(model: type[Frozen], above: Iterable[str]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        path = (*above, name)
        yield ".".join(path)
        for inner in _classes(field) if len(path) < 4 else ():
            yield from _paths(inner, path)

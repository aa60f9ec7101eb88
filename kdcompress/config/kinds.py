"""Parts of a recipe with a `kind`: built-in ones, and those that installed packages add by entry points."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar, Union

from pydantic import GetCoreSchemaHandler, SerializationInfo
from pydantic_core import CoreSchema, core_schema

from kdcompress.config.base import Frozen
from kdcompress.errors import ConfigError, did_you_mean

C = TypeVar("C", bound=Frozen)


@dataclass(frozen=True)
class Kind(Generic[C]):
    """One kind.

    Attributes:
        target: `module:object`, imported when something of this kind is made; or the object.
        config: class of its keys; None takes the target's attribute `Config`.
    """

    target: Any
    config: type[C] | None = None


class Kinds(Generic[C]):
    """The kinds that one part of a recipe may be of; as `Annotated[Base, Kinds(…)]` the type of a field.

    The keys are validated by the class of their kind.

    Attributes:
        group: entry points `NAME = "module:object"` in it add the kind NAME; see `docs/extending.md`.
    """

    def __init__(
        self, noun: str, base: type[C], builtin: Mapping[str, Kind[C]], default: str | None = None
    ) -> None:
        """List the built-in kinds.

        Args:
            noun: what is of a kind, for messages and for the group.
            base: of all classes of keys.
            default: the kind of keys that name none; None refuses them.
        """
        self.noun, self.base, self.default = noun, base, default
        self.group = f"kdcompress.{noun}s"
        self._given = dict(builtin)

    @cached_property
    def _known(self) -> dict[str, Kind[C]]:
        # A package cannot take the name of a built-in kind.
        added = {point.name: Kind[C](point.value) for point in entry_points(group=self.group)}
        return self._given | {name: kind for name, kind in added.items() if name not in self._given}

    def add(self, kind: str, target: Any, config: type[C] | None = None) -> None:
        """Make a kind known in this process, as an entry point does wherever its package is installed."""
        self._given[kind] = Kind(target, config)
        self.__dict__.pop("_known", None)

    def names(self) -> tuple[str, ...]:
        """Return the kinds that there are."""
        return tuple(self._known)

    def target(self, kind: str) -> Any:
        """Import what a kind names.

        Raises:
            ConfigError: there is no such kind, or it cannot be imported.
        """
        target = self._find(kind).target
        if not isinstance(target, str):
            return target
        module, _, name = target.partition(":")
        try:
            return getattr(import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise ConfigError(
                f"the {self.noun} kind {kind!r} cannot be imported from {module}:{name} "
                f"({type(error).__name__}: {error}); repair or remove the package that adds it"
            ) from error

    def config(self, kind: str) -> type[C]:
        """Return the class that validates a kind's keys.

        Raises:
            ConfigError: there is no such kind, or it brings no such class.
        """
        found = self._find(kind).config or getattr(self.target(kind), "Config", None)
        if not (isinstance(found, type) and issubclass(found, self.base)):
            raise ConfigError(
                f"the {self.noun} kind {kind!r} has no class Config, which derives from "
                f"{self.base.__module__}.{self.base.__name__}"
            )
        return found

    def validate(self, value: object) -> C:
        """Make a configuration of keys; one that is made already stays as it is.

        Raises:
            ConfigError: there is no such kind.
            ValidationError: its class refuses the keys.
        """
        if isinstance(value, self.base):
            return value
        if not isinstance(value, Mapping):
            raise ConfigError(f"expected keys with a kind, one of {', '.join(self.names())}")
        kind = value.get("kind", self.default)
        if kind is None:
            raise ConfigError(f"the key kind is missing; there are {', '.join(self.names())}")
        return self.config(str(kind)).model_validate(value)

    def _find(self, kind: str) -> Kind[C]:
        if kind in self._given:  # looking through the installed packages takes a while
            return self._given[kind]
        if kind in self._known:
            return self._known[kind]
        raise ConfigError(
            f"no {self.noun} kind {kind!r}{did_you_mean(kind, self._known)}; "
            f"there are {', '.join(self.names())}; "
            f"installed packages add others by entry points of the group {self.group}"
        )

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        classes = tuple(kind.config for kind in self._given.values() if kind.config is not None)
        # Of the union of built-in classes only the JSON schema is used.
        return core_schema.no_info_wrap_validator_function(
            lambda value, _: self.validate(value),
            handler.generate_schema(Union[classes]),  # noqa: UP007  # known at run time only
            serialization=core_schema.plain_serializer_function_ser_schema(_dump, info_arg=True),
        )


def _dump(value: Frozen, info: SerializationInfo) -> dict[str, Any]:
    return value.model_dump(mode=info.mode)

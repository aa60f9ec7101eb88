"""YAML that people write, read with bounds: safe types, and no more values than a person would write."""

from pathlib import Path
from typing import Any

import yaml

from kdcompress.errors import ConfigError

_CHARACTERS = 1_000_000  # of a file
_VALUES = 100_000  # after aliases are expanded
_DEPTH = 100  # of lists and mappings in one another


class _BoundedLoader(yaml.SafeLoader):
    """Looks at what was parsed before values are made of it: that is when merge keys expand."""

    def construct_document(self, node: yaml.Node) -> Any:
        if _size(node, {}, 0) > _VALUES:
            raise yaml.YAMLError(f"its aliases expand to more than {_VALUES:,} values, or into themselves")
        return super().construct_document(node)


def parse_yaml(text: str, source: str) -> Any:
    """Return the plain data of YAML.

    Raises:
        ConfigError: the text is not YAML, too long, nested too deep, or its aliases expand too far; in one
            line that begins with the source.
    """
    if len(text) > _CHARACTERS:
        raise ConfigError(f"{source} has {len(text):,} characters where at most {_CHARACTERS:,} are read")
    try:
        return yaml.load(text, _BoundedLoader)
    except RecursionError:
        raise ConfigError(f"{source} is not YAML: nested too deep") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{source} is not YAML: {' '.join(str(error).split())}") from error


def read_yaml(path: Path) -> Any:
    """Return the plain data of a file of YAML.

    Raises:
        OSError: the file cannot be read.
        ConfigError: as for `parse_yaml`, or the file is not UTF-8.
    """
    with path.open(encoding="utf-8") as file:
        try:
            text = file.read(_CHARACTERS + 1)
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path} is not UTF-8 text: {error}") from error
    return parse_yaml(text, str(path))


def _size(node: yaml.Node, known: dict[int, float], depth: int) -> float:
    """Return how many values a node stands for, aliases counted each time; ∞ where it holds itself."""
    if depth > _DEPTH:
        raise yaml.YAMLError(f"nested deeper than {_DEPTH} levels")
    if id(node) not in known:
        known[id(node)] = float("inf")
        inside: list[Any] = [] if isinstance(node, yaml.ScalarNode) else node.value
        parts = (part for item in inside for part in (item if isinstance(item, tuple) else (item,)))
        known[id(node)] = 1 + sum(_size(part, known, depth + 1) for part in parts)
    return known[id(node)]

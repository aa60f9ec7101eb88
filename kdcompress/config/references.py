"""Whether the files that a recipe names are there: asked before a run, which may find out hours later."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from kdcompress.config.recipe import PATH_KEYS, Recipe
from kdcompress.errors import ConfigError


def named_files(recipe: Recipe) -> Iterator[tuple[str, Path]]:
    """Yield the key and the path of each file or folder that a recipe names; hub ids are none."""
    data = recipe.model_dump(mode="json")
    for keys in PATH_KEYS:
        for key, path in _found(data, keys):
            yield key, Path(path)


def check_files(recipe: Recipe, given: Collection[Path] = ()) -> None:
    """See that the files and folders that a recipe names are there; nothing in them is read.

    Args:
        given: names that stand for what the command line will give.

    Raises:
        ConfigError: one is not; names its key.
    """
    missing = [(key, path) for key, path in named_files(recipe) if path not in given and not path.exists()]
    if missing:
        raise ConfigError("; ".join(f"{key}: no such file or folder: {path}" for key, path in missing))
    references = recipe.data.validation.references
    if references is not None and references.is_dir():
        raise ConfigError(
            f"data.validation.references: {references} is a folder, expected a manifest with texts"
        )


def _found(data: Any, keys: Sequence[str], prefix: str = "") -> Iterator[tuple[str, str]]:
    first, *rest = keys
    if first == "*":
        for index, item in enumerate(data if isinstance(data, list) else []):
            yield from _found(item, rest, f"{prefix}{index}.")
        return
    value = data.get(first) if isinstance(data, dict) else None
    if rest:
        yield from _found(value, rest, f"{prefix}{first}.")
    # Of a Hugging Face teacher only an absolute path is surely a folder; the rest may be a hub id.
    elif isinstance(value, str) and (data.get("kind") != "huggingface" or Path(value).is_absolute()):
        yield f"{prefix}{first}", value

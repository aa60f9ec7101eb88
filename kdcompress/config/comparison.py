"""A comparison: one recipe, several settings, several seeds."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator
from typing_extensions import Self

from kdcompress.config.base import Frozen, describe_faults
from kdcompress.config.recipe import Recipe, make_recipe
from kdcompress.errors import ConfigError
from kdcompress.plain_yaml import read_yaml


class Comparison(Frozen):
    """Rows of overrides over one recipe, each trained once per seed.

    Attributes:
        description: what is compared, shown above the table.
        recipe: name or file of the recipe that all rows share.
        common: overrides `a.b=c` that all rows share: the budget.
        seeds: every row is trained with each of them; three at least before methods are ranked.
        baseline: the row that the others' differences are taken to.
        rows: overrides by name, in the order of the table.
    """

    description: str
    recipe: str
    common: tuple[str, ...] = ()
    seeds: tuple[int, ...] = Field((0, 1, 2), min_length=1)
    baseline: str
    rows: dict[str, tuple[str, ...]] = Field(min_length=1)

    @model_validator(mode="after")
    def _check_baseline(self) -> Self:
        if self.baseline not in self.rows:
            raise ValueError(f"the baseline {self.baseline!r} is none of the rows {', '.join(self.rows)}")
        return self


def load_comparison(path: Path) -> Comparison:
    """Read a comparison from YAML.

    Raises:
        ConfigError: the file is missing, not YAML, or holds what a comparison has not.
    """
    try:
        data = read_yaml(path)
        return Comparison.model_validate(data)
    except OSError as error:
        raise ConfigError(f"cannot read the comparison {path}: {error.strerror}") from error
    except ValidationError as error:
        raise ConfigError(f"{path}: {describe_faults(error, Comparison, data)}") from error


def row_recipes(
    comparison: Comparison, layers: Mapping[str, Any], seed: int, transcribed: Path | None
) -> dict[str, Recipe]:
    """Lay each row's overrides over the recipe that all share.

    Args:
        layers: keys of that recipe, with teacher and audio.
        transcribed: manifest that rows which read transcripts train on.

    Raises:
        ConfigError: an override is not allowed, or a row needs transcripts and there are none; lists every
            row that is wrong.
    """
    found, faults = {}, []
    for row, overrides in comparison.rows.items():
        sets = [*comparison.common, *overrides, f"seed={seed}"]
        try:
            recipe = make_recipe(layers, sets, f"row {row}")
            if recipe.objective.kd_weight < 1:
                if transcribed is None:
                    raise ConfigError(f"row {row} reads transcripts: give --transcribed MANIFEST")
                sets.append(f"data.audio={json.dumps(str(transcribed.resolve()))}")
                recipe = make_recipe(layers, sets, f"row {row}")
        except ConfigError as error:
            faults.append(str(error))
        else:
            found[row] = recipe
    if faults:
        raise ConfigError("; ".join(faults))
    return found


def is_comparison(path: Path) -> bool:
    """Tell a comparison from a recipe: it has rows."""
    try:
        data = read_yaml(path)
    except (OSError, ConfigError):
        return False
    return isinstance(data, dict) and "rows" in data

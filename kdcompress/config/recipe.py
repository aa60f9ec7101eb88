"""A recipe: everything that decides a run, read from YAML and `--set a.b=c`."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import ValidationError, model_validator
from typing_extensions import Self

from kdcompress.config.base import Frozen, describe_faults
from kdcompress.config.data import DataConfig
from kdcompress.config.objective import ObjectiveConfig
from kdcompress.config.student import STUDENTS, ConformerConfig, StudentConfig
from kdcompress.config.teacher import TEACHERS, TeacherConfig
from kdcompress.config.training import TrainingConfig
from kdcompress.config.vocabulary import SentencePiece, VocabularyConfig
from kdcompress.errors import ConfigError
from kdcompress.plain_yaml import parse_yaml, read_yaml

# Keys whose values are paths: relative ones are meant from the recipe's own folder. * is each item of a list.
PATH_KEYS = (
    ("data", "audio"),
    ("data", "validation", "audio"),
    ("data", "validation", "references"),
    ("teacher", "path"),
    ("teacher", "state_dict"),
    ("teacher", "manifest"),
    ("teacher", "second"),
    ("teacher", "members", "*", "path"),
    ("teacher", "members", "*", "state_dict"),
    ("student", "path"),
    ("student", "source"),
    ("training", "start_from"),
)


class Recipe(Frozen):
    """One training run.

    Attributes:
        description: what the run is for, shown by `kdcompress recipes list`.
        seed: of weights, data order and masks.
        teacher: whom to imitate; None with kd_weight 0.
        vocabulary: the student's units. None takes the teacher's, and supervised training without a teacher
            the default characters. Others than the teacher's can be learned from its transcripts only.
    """

    description: str = ""
    seed: int = 0
    teacher: Annotated[TeacherConfig, TEACHERS] | None = None
    vocabulary: VocabularyConfig | None = None
    student: Annotated[StudentConfig, STUDENTS] = ConformerConfig.model_validate({"preset": "3.5M"})
    data: DataConfig = DataConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    training: TrainingConfig = TrainingConfig()

    @model_validator(mode="before")
    @classmethod
    def _begun_students_by_adamw(cls, data: Any) -> Any:
        """Set what `training.optimizer` is where the student begins with weights (config.training)."""
        if not isinstance(data, dict):
            return data
        student, training = data.get("student"), data.get("training", {})
        if not isinstance(training, dict) or "optimizer" in training:
            return data
        cut = isinstance(student, dict) and student.get("kind") == "pretrained"
        if cut or training.get("start_from") is not None:
            return {**data, "training": {"optimizer": "adamw", **training}}
        return data

    @model_validator(mode="after")
    def _pieces_have_no_frames_to_match(self) -> Self:
        if isinstance(self.vocabulary, SentencePiece) and self.objective.compares_frames:
            raise ValueError(
                "a student with pieces of its own cannot match its teacher's units frame by frame: "
                "set objective.frame_weight=0, objective.occupancy_weight=0"
            )
        return self


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a YAML recipe, its optional `base:` (one level), and overrides of the form `a.b=c`.

    Raises:
        ConfigError: the file is missing or not YAML, or a value is not allowed; names it.
    """
    return make_recipe(read_layers(path), overrides, str(path))


def read_layers(path: Path) -> dict[str, Any]:
    """Return the recipe's keys on top of those of its `base:`, paths made absolute.

    Raises:
        ConfigError: a file is missing, is not a YAML mapping, or its base has a base.
    """
    layer = _read_yaml(path)
    if "base" not in layer:
        return layer
    base = _read_yaml(path.parent / str(layer.pop("base")))
    if "base" in base:
        raise ConfigError(f"{path}: its base has a base itself; one level keeps recipes readable")
    return merge(base, layer)


def make_recipe(layers: Mapping[str, Any], overrides: Sequence[str], source: str) -> Recipe:
    """Validate merged keys and overrides into a recipe.

    Raises:
        ConfigError: a key is unknown or a value is not allowed; names the key and the source.
    """
    data = deepcopy(dict(layers))
    for item in overrides:
        key, equals, text = item.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set {item!r}: expected KEY=VALUE, for example training.steps=500")
        value = parse_yaml(text, f"--set {item!r}: the value")
        for part in reversed(key.strip().split(".")):
            value = {part: value}
        data = merge(data, value)
    # Files' paths are absolute by now. What is typed is meant from here, and a run's own copy of the recipe,
    # read again on resumption, would take it to be meant from the run's folder.
    for keys in PATH_KEYS:
        _make_absolute(data, keys, Path())
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        raise ConfigError(f"{source}: {describe_faults(error, Recipe, data)}") from error


def dump_recipe(recipe: Recipe) -> str:
    """Return the recipe as YAML with every value spelled out; `load_recipe` reads it back unchanged."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def standalone(path: Path) -> str:
    """Return the text of a recipe as it may lie in any folder and mean the same.

    Where nothing in it depends on its folder that is the file as it is, with its comments; else its base is
    laid under it and paths are absolute.

    Raises:
        ConfigError: the file is no recipe.
    """
    load_recipe(path)
    layers = read_layers(path)
    text = path.read_text(encoding="utf-8")
    if layers == read_yaml(path):
        return text
    return yaml.safe_dump(layers, sort_keys=False, allow_unicode=True)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        data = read_yaml(path)
    except OSError as error:
        raise ConfigError(
            f"cannot read recipe {path}: {error.strerror}; see 'kdcompress recipes list'"
        ) from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected a mapping of recipe keys, found {type(data).__name__}")
    for keys in PATH_KEYS:
        _make_absolute(data, keys, path.parent)
    return data


def _make_absolute(data: Any, keys: Sequence[str], folder: Path) -> None:
    first, *rest = keys
    if first == "*":
        for item in data if isinstance(data, list) else []:
            _make_absolute(item, rest, folder)
        return
    if not isinstance(data, dict) or first not in data:
        return
    if rest:
        _make_absolute(data[first], rest, folder)
        return
    value = data[first]
    # A hub id ("facebook/hubert-large-ls960-ft") is no path, nor is `teacher`: a dot begins one.
    named = data.get("kind") in {"huggingface", "pretrained"}
    if isinstance(value, str) and (not named or value.startswith(".")):
        data[first] = str((folder / value).resolve())


def merge(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    """Lay `high` over `low`, mapping by mapping; a mapping of another `kind` replaces instead."""
    merged = dict(low)
    for key, value in high.items():
        old = merged.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping) and _same_kind(old, value):
            merged[key] = merge(old, value)
        else:
            merged[key] = value
    return merged


def _same_kind(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    return "preset" not in new and ("kind" not in new or new["kind"] == old.get("kind"))

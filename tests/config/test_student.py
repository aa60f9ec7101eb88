"""Student presets are valid, ordered by size, and can be varied knob by knob."""

from itertools import pairwise

import pytest
from pydantic import ValidationError

from kdcompress.config.recipe import Recipe
from kdcompress.config.student import PRESETS, ConformerConfig


def preset(name: str, **knobs: object) -> ConformerConfig:
    return ConformerConfig.model_validate({"preset": name, **knobs})


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_valid_and_written_in_full(name: str) -> None:
    config = preset(name)
    assert ConformerConfig.model_validate(config.model_dump()) == config
    for key, value in PRESETS[name].items():
        assert getattr(config, key) == value


def test_presets_grow() -> None:
    configs = [preset(name) for name in PRESETS]
    for small, large in pairwise(configs):
        assert small.width * small.layers < large.width * large.layers
        assert small.stem_channels <= large.stem_channels


def test_a_knob_beside_a_preset_wins() -> None:
    assert preset("10M", layers=2) == preset("10M").model_copy(update={"layers": 2})


def test_the_default_is_that_of_the_recipe() -> None:
    assert ConformerConfig() == Recipe().student


@pytest.mark.parametrize(
    "knobs",
    [
        {"width": 30},
        {"heads": 0},
        {"frame_shift_ms": 30},
        {"dropout": 1.0},
        {"normalize": "all"},
        {"depth": 3},
        {"frontend": "mfcc"},
        {"frontend": "kaldi", "normalize": "per_feature"},
    ],
)
def test_other_values_are_refused(knobs: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ConformerConfig.model_validate(knobs)


def test_kaldis_features_are_not_normalised() -> None:
    config = preset("0.6M", frontend="kaldi")
    assert config.normalize == "none"
    assert ConformerConfig.model_validate(config.model_dump()) == config

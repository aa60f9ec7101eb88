"""Pauses are found by level, whatever the recording's gain."""

import numpy as np
import pytest

from kdcompress.audio.pauses import GUARD, pauses

RATE = 16_000


def recording(parts: list[tuple[float, float]], seed: int = 0) -> np.ndarray:
    """Return noise of the given (seconds, level) one after the other."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(size=int(s * RATE)) * level for s, level in parts]).astype(np.float32)


@pytest.mark.parametrize("gain", [1.0, 0.01])
def test_long_silences_are_found_and_short_ones_are_not(gain: float) -> None:
    sound = recording([(0.5, 0.001), (1.0, 0.1), (0.2, 0.001), (1.0, 0.1), (0.8, 0.001), (0.6, 0.1)]) * gain
    expected = [(0.0, 0.5 - GUARD), (2.7 + GUARD, 3.5 - GUARD)]
    np.testing.assert_allclose(pauses(sound), expected, atol=0.011)


def test_nothing_is_found_where_all_is_alike_or_nothing_is_there() -> None:
    assert pauses(recording([(2.0, 0.1)])) == []
    assert pauses(np.zeros(RATE, np.float32)) == []
    assert pauses(np.zeros(10, np.float32)) == []

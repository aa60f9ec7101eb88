"""Silences are found by level, and from what has been heard so far only."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdcompress.runtime.silences import FRAME, Pause, find_pause, leading_silence, levels


def noise(seconds: float, decibels: float) -> npt.NDArray[np.float64]:
    """Levels as stationary noise has them."""
    return decibels + np.random.default_rng(0).normal(0, 0.5, round(100 * seconds))


def speech(seconds: float) -> npt.NDArray[np.float64]:
    """Levels as syllables have them."""
    count = round(100 * seconds)
    return -25 + 12 * np.sin(np.arange(count) / 4) + np.random.default_rng(1).normal(0, 1, count)


def test_levels_are_those_of_ten_milliseconds() -> None:
    tone = np.sin(np.arange(16_000 + 7) * 0.3).astype(np.float32)
    assert levels(tone).shape == (100,)
    assert levels(tone) == pytest.approx(-3.01, abs=0.5)
    assert levels(np.zeros(320, np.float32)).tolist() == [-100, -100]
    assert levels(np.zeros(159, np.float32)).shape == (0,)


@given(
    spoken=st.floats(1.1, 8),
    silent=st.floats(1.0, 5),
    then=st.floats(0.5, 5),
    quiet=st.floats(-75, -55),
    cut=st.floats(0.0, 1.0),
)
def test_what_follows_moves_no_cut(
    spoken: float, silent: float, then: float, quiet: float, cut: float
) -> None:
    first = np.concatenate([speech(spoken), noise(silent, quiet)])
    pause = find_pause(first, 0.8, 16_000, False)
    assert pause is not None
    assert abs(pause.start / FRAME - 100 * spoken) <= 3
    more = np.concatenate([first, speech(then), noise(3, -90)])
    assert find_pause(more, 0.8, 16_000, False) == pause
    # A recording that ends within that silence ends where the pause begins.
    short = first[: pause.start // FRAME + 60 + round(cut * (len(first) - pause.start // FRAME - 60))]
    assert find_pause(short, 0.8, 16_000, True) == pause


def test_a_chunk_is_never_too_short() -> None:
    level = np.concatenate([speech(3), noise(0.6, -60), speech(3)])
    assert find_pause(level, 0.8, 16_000, True) is None
    # After half a second of speech the chunk takes half a second of silence along.
    assert find_pause(np.concatenate([speech(0.5), noise(1.2, -60)]), 0.8, 16_000, False) is None
    pause = find_pause(np.concatenate([speech(0.5), noise(3, -60), speech(1)]), 0.8, 16_000, False)
    assert pause is not None
    assert pause.start == 16_000
    assert find_pause(noise(10, -30), 0.8, 0, True) is None  # all alike: may be all speech
    assert find_pause(noise(0.05, -30), 0.8, 0, True) is None


def test_the_silence_before_speech_ends_where_it_rises() -> None:
    level = np.concatenate([noise(2, -70), speech(4), noise(3, -70)])
    assert leading_silence(level) is not None
    assert leading_silence(level) == leading_silence(level, -58.0) == 200 * FRAME
    assert leading_silence(level, -20.0) == 200 * FRAME  # rises from the noise, however high the threshold
    assert leading_silence(speech(5)) == 0
    assert leading_silence(noise(5, -95)) is None
    assert leading_silence(np.empty(0)) is None
    assert leading_silence(np.full(5, -100.0), -60) is None
    assert isinstance(find_pause(level, 0.8, 16_000, True), Pause)

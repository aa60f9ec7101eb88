"""Changes of audio: the same each time, of the length and level that they say."""

import numpy as np
import pytest

from kdcompress.audio.stress import (
    EMPTY,
    HUSH,
    JOINED,
    STRESSES,
    Samples,
    add_noise,
    clip,
    empty_clips,
    surround,
    telephone,
)

RATE = 16_000


def speech() -> Samples:
    """Return bursts of tones at 150, 1000 and 6000 Hz."""
    time = np.arange(2 * RATE) / RATE
    sound = sum(np.sin(2 * np.pi * hertz * time) for hertz in (150, 1000, 6000))
    return np.asarray(0.05 * sound * (np.sin(2 * np.pi * 3 * time) > 0), np.float64)


def at(samples: Samples, hertz: float) -> float:
    return float(np.abs(np.fft.rfft(samples))[round(hertz * len(samples) / RATE)])


@pytest.mark.parametrize("name", [name for name in STRESSES if name not in {JOINED, EMPTY}])
def test_each_changes_the_audio_and_always_in_the_same_way(name: str) -> None:
    sound, change = speech(), STRESSES[name].change
    found = change(sound.copy(), np.random.default_rng(4))
    np.testing.assert_array_equal(change(sound.copy(), np.random.default_rng(4)), found)
    assert len(found) == len(sound) + 2 * RATE * (name in {"silence", "hush"})
    assert np.isfinite(found).all()
    if len(found) == len(sound):
        assert not np.allclose(found, sound, atol=1e-4)
        if name not in {"noise-0", "clipping"}:  # it is still this sound, and where it was
            assert np.corrcoef(found, sound)[0, 1] > 0.5
            lags = np.correlate(found, sound[80:-80], "valid")
            assert abs(int(np.abs(lags).argmax()) - 80) <= 4


def test_levels_are_what_they_say() -> None:
    sound, rng = speech(), np.random.default_rng(1)
    noise = add_noise(sound, rng, 10) - sound
    assert 10 * np.log10(np.mean(sound**2) / np.mean(noise**2)) == pytest.approx(10, abs=0.1)
    quiet = surround(sound, rng, 1, HUSH)
    assert quiet[:RATE].std() == pytest.approx(HUSH, rel=0.05)
    assert not surround(sound, rng, 1, 0)[:RATE].any()
    cut = clip(sound, rng)
    assert np.abs(cut).max() == 1
    assert (np.abs(cut) == 1).mean() > 0.1
    narrow = telephone(sound, rng)
    assert at(narrow, 1000) > 0.8 * at(sound, 1000)
    assert max(at(narrow, 150) / at(sound, 150), at(narrow, 6000) / at(sound, 6000)) < 0.05


def test_nobody_speaks_for_forty_seconds() -> None:
    clips = empty_clips()
    assert sum(map(len, clips)) == 40 * RATE
    assert sum(not one.any() for one in clips) == 4
    assert max(float(one.std()) for one in clips) == pytest.approx(10 ** (-25 / 20), rel=0.01)

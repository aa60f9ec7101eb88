"""Clips in which nobody speaks."""

from pathlib import Path

import numpy as np
import soundfile

from kdcompress.distill.data.noise import LONGEST, LOUDEST_DB, QUIETEST_DB, SHORTEST, noise, write_noise


def test_clips_are_as_faint_and_as_long_as_they_say() -> None:
    clips = [noise(np.random.default_rng(index)) for index in range(60)]
    assert all(SHORTEST <= len(clip) / 16_000 <= LONGEST for clip in clips)
    silent = [clip for clip in clips if not clip.any()]
    assert 0 < len(silent) < 20
    levels = [20 * np.log10(clip.std()) for clip in clips if clip.any()]
    assert QUIETEST_DB - 0.1 <= min(levels) < -60
    assert -40 < max(levels) <= LOUDEST_DB + 0.1


def test_colours_differ() -> None:
    tilts = []
    for index in range(30):
        power = np.abs(np.fft.rfft(noise(np.random.default_rng(index)))) ** 2
        tilts.append(power[: len(power) // 8].sum() / max(power.sum(), 1e-30))
    assert min(t for t in tilts if t) < 0.3
    assert max(tilts) > 0.95


def test_a_second_writing_keeps_what_is_there_and_fills_gaps(tmp_path: Path) -> None:
    clips = write_noise(tmp_path / "noise", 4, seed=1)
    assert len({clip.id for clip in clips}) == 4
    before = {clip.audio: clip.audio.read_bytes() for clip in clips}
    clips[2].audio.unlink()
    kept = clips[0].audio.stat().st_mtime_ns
    assert write_noise(tmp_path / "noise", 4, seed=1) == clips
    assert {clip.audio: clip.audio.read_bytes() for clip in clips} == before
    assert clips[0].audio.stat().st_mtime_ns == kept
    sound, rate = soundfile.read(clips[0].audio)
    assert (len(sound) / rate, rate) == (clips[0].duration, 16_000)
    assert sorted(path.suffix for path in (tmp_path / "noise").iterdir()) == [".flac"] * 4

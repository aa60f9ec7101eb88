"""Long recordings are cut where the runtime would cut them, and channels are kept apart."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from kdcompress.audio.decode import read_audio, read_utterance
from kdcompress.audio.manifest import read_utterances
from kdcompress.audio.utterance import SAMPLE_RATE, Utterance
from kdcompress.config.data import DataConfig
from kdcompress.config.recipe import Recipe
from kdcompress.distill.data.batches import Batches, write_cuts
from kdcompress.distill.data.long_recordings import fit
from kdcompress.distill.data.training_data import load_training_data
from kdcompress.distill.run import Run
from kdcompress.errors import AudioError, ConfigError
from kdcompress.runtime.chunks import Chunking, windows
from kdcompress.text.vocabulary import Vocabulary

UNITS = Vocabulary(("<blk>", "|", "a"), blank=0, word_boundary="|")


def speech(*parts: tuple[float, float], seed: int = 0) -> np.ndarray:
    """Return noise of the given (seconds, level) one after the other."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(0, level, round(s * SAMPLE_RATE)) for s, level in parts])


CALL = speech((2.5, 0.1), (1.5, 1e-4), (4, 0.1), (2, 1e-4), (13, 0.1), (1, 1e-4), (3, 0.1), (2, 1e-4))


def test_cuts_are_the_runtimes_and_hold_all_that_is_loud(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "call.flac", CALL, SAMPLE_RATE)
    [whole], _ = read_utterances(tmp_path)
    data = DataConfig(max_seconds=10)
    kept, outside, bad = fit([whole], data)
    assert not outside
    assert not bad
    assert all(data.min_seconds <= u.duration <= 10 for u in kept)
    assert len({u.id for u in kept}) == len(kept) == 5  # 13 s without a pause are two that overlap
    assert kept[0].id == "call@0.00"
    waveform = read_audio(whole.audio)
    expected = [w.waveform for w in windows([waveform], Chunking(10, 2.5), 160) if w.ends != "silence"]
    for utterance, window in zip(kept, expected, strict=True):
        np.testing.assert_array_equal(read_utterance(utterance), window)
    covered = np.zeros(len(waveform), bool)
    for one in kept:
        covered[round(one.start * SAMPLE_RATE) :][: round(one.duration * SAMPLE_RATE)] = True
    assert not (np.abs(waveform) > 0.05)[~covered].any()
    assert covered.mean() < 0.95
    assert fit([whole], data)[0] == kept


def test_what_is_short_enough_and_what_may_not_be_cut_stays(tmp_path: Path) -> None:
    short = Utterance("s", tmp_path / "not there.wav", 0.0, 9.9)
    long = Utterance("l", tmp_path / "not there.wav", 0.0, 40.0)
    assert fit([short], DataConfig(max_seconds=10)) == ([short], [], [])
    skip = DataConfig(max_seconds=10, longer="skip")
    assert fit([long, short], skip) == fit([long, short], DataConfig(max_seconds=10), cut=False)
    assert fit([long, short], skip) == ([short], [long], [])
    # What cannot be decoded is bad, and does not end the run by itself.
    kept, outside, [bad] = fit([short, long], DataConfig(max_seconds=10))
    assert (kept, outside) == ([short], [])
    assert "no such audio file" in bad.reason


def test_runs_and_caches_from_before_the_choice_skip() -> None:
    written = DataConfig().model_dump(mode="json")
    assert DataConfig.model_validate(written) == DataConfig()
    del written["longer"], written["channels"]
    assert DataConfig.model_validate(written).longer == "skip"
    assert DataConfig.model_validate({"audio": "calls", "max_seconds": 20}).longer == "cut"


def test_training_takes_long_recordings(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    (tmp_path / "calls").mkdir()
    for name in "ab":
        soundfile.write(tmp_path / "calls" / f"{name}.flac", CALL, SAMPLE_RATE)
    run = Run(tmp_path)
    made = recipe(data__audio=str(tmp_path / "calls"), data__max_seconds=10)
    data = load_training_data(made, UNITS, run, with_texts=False)
    assert len(data.training) + len(data.held_out) == 10
    assert data.cut.startswith(
        "2 recordings are longer than data.max_seconds (10 s) and were cut at pauses: 10"
    )
    assert not run.out_of_range.exists()
    skipping = recipe(data__audio=str(tmp_path / "calls"), data__max_seconds=10, data__longer="skip")
    with pytest.raises(AudioError, match=r"2 are longer than data\.max_seconds 10, .* 29 s") as said:
        load_training_data(skipping, UNITS, run, with_texts=False)
    assert str(run.out_of_range) in str(said.value)
    assert [json.loads(line)["id"] for line in run.out_of_range.read_text().splitlines()] == ["a", "b"]


def test_two_channels_are_two_utterances(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    (tmp_path / "calls").mkdir()
    sides: dict[str, Any] = {}
    for name in "ab":
        both = np.stack([speech((0.5, 0.1), seed=ord(name)), speech((0.5, 0.1), seed=ord(name) + 9)], axis=1)
        soundfile.write(tmp_path / "calls" / f"{name}.wav", both, SAMPLE_RATE, subtype="FLOAT")
        sides |= {f"{name}#{n}": both[:, n].astype(np.float32) for n in (0, 1)}
    soundfile.write(tmp_path / "calls" / "mono.wav", speech((0.5, 0.1)), SAMPLE_RATE)
    made = recipe(data__audio=str(tmp_path / "calls"), data__channels="split", data__speed=[1.0])
    found, _ = read_utterances(tmp_path / "calls", channels="split")
    assert [u.id for u in found] == ["a#0", "a#1", "b#0", "b#1", "mono"]
    write_cuts(found, tmp_path / "cuts.jsonl")
    [batch] = Batches(tmp_path / "cuts.jsonl", len(found), made.data, seed=1).epoch(0)
    for id_, row in zip(batch.ids, batch.waveforms.numpy(), strict=True):
        if id_ != "mono":
            np.testing.assert_array_equal(row, sides[id_])
    one, _ = read_utterances(tmp_path / "calls", channels=0)
    assert [(u.id, u.channel) for u in one] == [("a", 0), ("b", 0), ("mono", 0)]
    _, bad = read_utterances(tmp_path / "calls", channels=1)
    assert [b.path.name for b in bad] == ["mono.wav"]
    with pytest.raises(ConfigError, match="does not know whose words"):
        load_training_data(made, UNITS, Run(tmp_path), with_texts=True)

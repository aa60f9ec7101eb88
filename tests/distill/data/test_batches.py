"""Batches: every utterance once an epoch, in an order that position and seed decide."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st
from lhotse import CutSet

from kdcompress.audio.decode import read_audio
from kdcompress.audio.manifest import read_utterances
from kdcompress.audio.utterance import Utterance
from kdcompress.config.data import DataConfig
from kdcompress.distill.data.audio_batch import by_duration, read_batch
from kdcompress.distill.data.batches import Batches, write_cuts
from kdcompress.distill.data.training_data import hold_out


def batches(audio_folder: Path, tmp_path: Path, **changes: object) -> Batches:
    utterances, _ = read_utterances(audio_folder)
    write_cuts(utterances, tmp_path / "cuts.jsonl")
    config = DataConfig.model_validate({"batch_seconds": 4, "buckets": 3, **changes})
    return Batches(tmp_path / "cuts.jsonl", len(utterances), config, seed=1)


def test_cuts_are_written_as_lhotse_writes_them(tmp_path: Path) -> None:
    utterances = [
        Utterance("ä/1", tmp_path / "ö.wav", 0.0, 1.23456789),
        Utterance("b", tmp_path / "s.tar" / "@512+99" / "b.flac", 0.1, 0.2, 1),
    ]
    write_cuts(utterances, tmp_path / "cuts.jsonl")
    with CutSet.open_writer(tmp_path / "lhotse.jsonl") as writer:
        for cut in CutSet.from_jsonl_lazy(tmp_path / "cuts.jsonl"):
            writer.write(cut)
    assert (tmp_path / "cuts.jsonl").read_bytes() == (tmp_path / "lhotse.jsonl").read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are UTF-8 or UTF-16")
def test_a_name_that_is_not_utf8_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.wav")
    soundfile.write(os.fsencode(path), np.full(8000, 0.5), 16_000)
    utterances, _ = read_utterances(tmp_path)
    write_cuts(utterances, tmp_path / "cuts.jsonl")
    config = DataConfig.model_validate({"batch_seconds": 4})
    (batch,) = Batches(tmp_path / "cuts.jsonl", 1, config, seed=1).epoch(0)
    assert not batch.bad
    assert batch.waveforms.shape == (1, 8000)


def test_an_epoch_has_every_utterance_once_and_differs_from_the_next(
    audio_folder: Path, tmp_path: Path
) -> None:
    source = batches(audio_folder, tmp_path)
    orders = [[id_ for batch in source.epoch(epoch) for id_ in batch.ids] for epoch in (0, 1, 0)]
    assert sorted(orders[0]) == sorted(orders[1]) == [f"u{i:02}" for i in range(20)]
    assert orders[0] != orders[1]
    assert orders[0] == orders[2]


def test_a_position_in_an_epoch_can_be_taken_up_again(audio_folder: Path, tmp_path: Path) -> None:
    source = batches(audio_folder, tmp_path, speed=[0.9, 1.0, 1.1])
    everything = list(source.epoch(2))
    rest = list(source.epoch(2, start=2))
    assert len(rest) == len(everything) - 2
    for one, other in zip(everything[2:], rest, strict=True):
        assert (one.ids, one.speeds) == (other.ids, other.speeds)
        assert torch.equal(one.waveforms, other.waveforms)
    assert len({speed for batch in everything for speed in batch.speeds}) > 1


def test_loader_processes_change_nothing(audio_folder: Path, tmp_path: Path) -> None:
    alone = list(batches(audio_folder, tmp_path).epoch(0))
    helped = list(batches(audio_folder, tmp_path, workers=1).epoch(0))
    assert [b.ids for b in alone] == [b.ids for b in helped]


def test_speed_changes_the_length_and_zeros_follow_the_end(audio_folder: Path) -> None:
    utterances, _ = read_utterances(audio_folder)
    batch = read_batch(utterances[:2], [1.0, 0.8])
    samples = [len(read_audio(u.audio)) for u in utterances[:2]]
    assert int(batch.lengths[0]) == samples[0]
    assert abs(int(batch.lengths[1]) - samples[1] / 0.8) <= 2
    for row, length in zip(batch.waveforms, batch.lengths, strict=True):
        assert not row[length:].any()
        assert row[:length].any()


def test_a_file_that_cannot_be_decoded_is_left_out_and_named(audio_folder: Path, tmp_path: Path) -> None:
    good, _ = read_utterances(audio_folder)
    bad = Utterance("bad", tmp_path / "missing.wav", 0.0, 1.0)
    batch = read_batch([good[0], bad, good[1]], labels={u.id: [1, 2] for u in good})
    assert batch.ids == (good[0].id, good[1].id)
    assert [entry.path for entry in batch.bad] == [bad.audio]
    assert batch.labels is not None
    assert batch.labels.shape == (2, 2)
    assert read_batch([bad]).ids == ()


seconds = st.floats(0.2, 20.0)


@given(st.lists(seconds, min_size=1, max_size=40), st.floats(0.05, 0.4), st.floats(1.0, 100.0))
def test_holding_out_splits_without_loss_and_new_files_move_none(
    durations: list[float], share: float, limit: float
) -> None:
    utterances = [Utterance(f"u{i}", Path(f"{i}.wav"), 0.0, d) for i, d in enumerate(durations)]
    training, held = hold_out(utterances, share, limit)
    assert sorted(u.id for u in training + held) == sorted(u.id for u in utterances)
    assert held
    assert len(held) == 1 or sum(u.duration for u in held) <= limit
    assert [u.id for u in hold_out(list(reversed(utterances)), share, limit)[1]] == [u.id for u in held]


@given(st.lists(seconds, min_size=1, max_size=40))
def test_groups_by_duration_fit_their_budget(durations: list[float]) -> None:
    utterances = [Utterance(f"u{i}", Path(f"{i}.wav"), 0.0, d) for i, d in enumerate(durations)]
    groups: list[list[Utterance]] = by_duration(utterances, 30.0)
    assert sorted(u.id for g in groups for u in g) == sorted(u.id for u in utterances)
    assert all(len(g) * max(u.duration for u in g) <= 30.0 or len(g) == 1 for g in groups)


def test_audio_kept_in_memory_is_the_audio_of_the_files(audio_folder: Path, tmp_path: Path) -> None:
    kept = batches(audio_folder, tmp_path, speed=[0.9, 1.0], memory_mb=0.2)
    read = batches(audio_folder, tmp_path, speed=[0.9, 1.0], memory_mb=0)
    for epoch in range(3):
        for one, other in zip(kept.epoch(epoch), read.epoch(epoch), strict=True):
            assert torch.equal(one.waveforms, other.waveforms)
    assert 0 < len(kept.memory.waveforms) < 20  # no more than there is room for
    assert sum(waveform.nbytes for waveform in kept.memory.waveforms.values()) <= 0.2e6
    assert not read.memory.waveforms


def test_little_of_a_batch_is_padding_even_at_several_speeds(tmp_path: Path) -> None:
    """Speech of 1 to 10 s; played at ten speeds within one batch, a tenth of it would be padding."""
    utterances = []
    for index in range(300):
        path = tmp_path / f"{index}.wav"
        soundfile.write(path, np.zeros(1600 * (10 + index * 37 % 90), dtype=np.int16), 16_000)
        utterances.append(Utterance(f"{index}", path, 0.0, 0.1 * (10 + index * 37 % 90)))
    write_cuts(utterances, tmp_path / "cuts.jsonl")
    config = DataConfig(batch_seconds=30, speed=tuple(0.85 + 0.03 * step for step in range(10)))
    samples = padded = 0
    for batch in Batches(tmp_path / "cuts.jsonl", 300, config, seed=0).epoch(0):
        samples += int(batch.lengths.sum())
        padded += batch.waveforms.numel()
    assert 1 - samples / padded < 0.05

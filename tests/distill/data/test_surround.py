"""Silence, noise and gain around utterances: the targets are those of a teacher that needs no context."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from kdcompress.config.data import DataConfig
from kdcompress.config.recipe import load_recipe
from kdcompress.distill.data.audio_batch import Batch
from kdcompress.distill.data.surround import Surround
from kdcompress.distill.objective.pseudo_labels import best_paths
from kdcompress.teachers.teacher import Posteriors
from kdcompress.text.vocabulary import Vocabulary

CHARACTERS = Vocabulary(("<blk>", "|", "a", "b"), blank=0, word_boundary="|")
PIECES = Vocabulary(("<blk>", "▁a", "▁b", "a"), blank=0, word_boundary="▁")
HOP = 320


def teacher(waveforms: torch.Tensor, lengths: torch.Tensor) -> Posteriors:
    """Give each 20 ms the token that its first sample, above 0.5, says: exact whatever lies around it."""
    hops = waveforms[:, : waveforms.shape[1] // HOP * HOP].unflatten(1, (-1, HOP))
    token = (hops[..., 0] * 10 - 5).clamp(min=0).round().long()
    log_probs = torch.nn.functional.one_hot(token, 4).float().mul(20).log_softmax(-1)
    return Posteriors(log_probs, lengths // HOP, HOP / 16_000)


class Source:
    """Runs the teacher, whose tokens are those of a vocabulary."""

    def __init__(self, vocabulary: Vocabulary = CHARACTERS) -> None:
        self.vocabulary = vocabulary

    def __call__(self, batch: Batch) -> Posteriors:
        return teacher(batch.waveforms, batch.lengths)


def batch_of(rows: list[list[int]], rest: int) -> Batch:
    """Return utterances of frames with these tokens and a few samples more."""
    lengths = torch.tensor([len(tokens) * HOP + rest for tokens in rows])
    waveforms = torch.zeros(len(rows), int(lengths.max()))
    for row, tokens in zip(waveforms, rows, strict=True):
        for frame, token in enumerate(tokens):
            row[frame * HOP] = 0.5 + token / 10 if token else 0.1
    labels = best_paths(teacher(waveforms, lengths), CHARACTERS).labels
    padded = torch.nn.utils.rnn.pad_sequence([torch.tensor(ids, dtype=torch.int64) for ids in labels], True)
    sizes = torch.tensor([len(ids) for ids in labels])
    ids = tuple(f"u{index}" for index in range(len(rows)))
    return Batch(ids, (1.0,) * len(rows), waveforms, lengths, padded, sizes, ())


ROWS = st.lists(st.lists(st.integers(0, 3), min_size=2, max_size=12), min_size=1, max_size=7)
PLAIN = {"share": 1, "gain_db": 0, "snr_db": 60, "silence": 0.3, "join": 3}


@settings(max_examples=60, deadline=None)
@given(
    rows=ROWS,
    rest=st.integers(0, HOP - 1),
    coarse=st.sampled_from([1, 2]),
    epoch=st.integers(0, 3),
    vocabulary=st.sampled_from([CHARACTERS, PIECES]),
)
def test_targets_are_the_teachers_moved_by_whole_frames(
    rows: list[list[int]], rest: int, coarse: int, epoch: int, vocabulary: Vocabulary
) -> None:
    batch = replace(batch_of(rows, rest), epoch=epoch)
    data = DataConfig.model_validate({"surround": PLAIN, "batch_seconds": 2})
    around = Surround(data, 1, coarse * HOP / 16_000, CHARACTERS)
    clean, source = teacher(batch.waveforms, batch.lengths), cast(Any, Source(vocabulary))
    made, targets = around(batch, source)
    assert targets is not None
    assert made.labels is not None
    assert made.label_lengths is not None
    again, _ = around(batch, source)
    assert torch.equal(again.waveforms, made.waveforms)
    assert len(made.ids) == 1 or made.waveforms.numel() <= 2 * 16_000
    heard = teacher(made.waveforms, made.lengths)
    assert torch.equal(heard.lengths, targets.lengths)
    texts = {
        id_: vocabulary.text(ids)
        for id_, ids in zip(batch.ids, best_paths(clean, vocabulary).labels, strict=True)
    }
    paths = best_paths(targets, vocabulary).labels
    for row, (ids, path) in enumerate(zip(made.ids, paths, strict=True)):
        length = int(targets.lengths[row])
        boundary = vocabulary.tokens.index("|") if "|" in vocabulary.tokens else -1
        differs = heard.log_probs[row, :length].argmax(-1) != targets.log_probs[row, :length].argmax(-1)
        added = targets.log_probs[row, :length][differs].argmax(-1)
        assert (added == boundary).all()  # nothing but word boundaries, in silence
        assert len(added) < max(2, len(ids.split("+")))
        assert torch.allclose(targets.log_probs[row, :length].exp().sum(-1), torch.ones(length), atol=1e-5)
        spoken = " ".join(filter(None, (texts[id_] for id_ in ids.split("+"))))
        # Pieces that begin no word, first in an utterance, have no boundary to be told from the word before.
        without = "" if vocabulary is PIECES else " "
        assert vocabulary.text(path).replace(" ", without) == spoken.replace(" ", without)
        if vocabulary is CHARACTERS:
            written = made.labels[row, : made.label_lengths[row]].tolist()
            assert vocabulary.text(written) == spoken


def test_noise_and_gain_change_the_audio_alone() -> None:
    batch = batch_of([[2, 0, 3], [3, 0, 0, 2]] * 4, 0)
    source = cast(Any, Source())
    loud = DataConfig.model_validate({"surround": {**PLAIN, "gain_db": 20, "snr_db": 0, "silence": 0}})
    rows = [Surround(loud, 1, 0.02, CHARACTERS)(replace(batch, epoch=e), source) for e in range(9)]
    peaks = torch.cat([made.waveforms.abs().amax(1) for made, _ in rows])
    assert peaks.min() < 0.3
    assert 0.9 < peaks.max() < 3  # noise is on top of what gain leaves within full scale
    noisy = [float((made.waveforms != 0).float().mean()) for made, _ in rows]
    assert max(noisy) > 0.3
    assert any(len(made.ids) < 8 for made, _ in rows)
    off = DataConfig.model_validate({"surround": {"share": 0}})
    assert Surround(off, 1, 0.02, CHARACTERS)(batch, source)[0] is batch


def test_runs_from_before_go_on_as_they_began(tmp_path: Path) -> None:
    old = Path(__file__).parents[2] / "old_files" / "run" / "recipe.yaml"
    kept = load_recipe(old).data
    assert (kept.noise_share, kept.surround.share) == (0, 0)
    fresh = tmp_path / "recipe.yaml"
    fresh.write_text(yaml.safe_dump({"data": {"batch_seconds": 9}}))
    assert load_recipe(fresh).data.noise_share == pytest.approx(0.04)
    assert load_recipe(fresh).data.surround.share > 0

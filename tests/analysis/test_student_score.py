"""A student's score, against figures counted by hand."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from kdcompress.analysis.student_score import (
    DecodedUtterance,
    decode,
    score_student,
    spike_offsets,
    word_errors,
)
from kdcompress.audio.utterance import Reference, Utterance
from kdcompress.text.decode import Hypothesis
from kdcompress.text.vocabulary import Vocabulary

LETTERS = Vocabulary(("<blk>", "|", "a", "b"), blank=0, word_boundary="|")


def said(path: list[int]) -> torch.Tensor:
    """Return log-probabilities [1, T, V] of a model that is sure of this path."""
    return torch.nn.functional.one_hot(torch.tensor([path]), 4).float().mul(20).log_softmax(-1)


def test_a_model_is_heard_with_its_pauses(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    level = np.repeat([0.001, 0.1, 0.1, 0.001], 8_000)  # half a second each: silent, loud, loud, silent
    soundfile.write(tmp_path / "a.wav", rng.normal(size=32_000) * level * 0.5, 16_000)
    path = [0] * 50
    path[2], path[20], path[25] = 2, 2, 3  # 40 ms frames: one token in the first pause, two in the speech
    heard = decode(
        lambda waveforms, lengths: (said(path), torch.tensor([50])),
        LETTERS,
        0.04,
        [Utterance("u", tmp_path / "a.wav", 0.0, 2.0)],
    )["u"]
    assert (heard.text, heard.tokens, heard.in_pauses, heard.frames) == ("aab", "a a b", 1, 50)
    assert heard.blanks == pytest.approx(47 / 50)
    assert heard.pause_seconds == pytest.approx(0.8, abs=0.05)


def test_word_errors_allow_empty_references() -> None:
    assert word_errors(["a b c", "", "a"], ["a x", "b b", ""]) == [(1, 0, 1), (0, 2, 0), (0, 0, 1)]


def test_spike_offsets_compare_only_tokens_that_both_say() -> None:
    student = Hypothesis((2, 3, 2), (5, 10, 20), (6, 11, 21), 0.0)
    teacher = Hypothesis((2, 2), (8, 44), (9, 45), 0.0)  # at half the frame shift
    assert spike_offsets(student, 0.04, teacher, 0.02) == pytest.approx([0.04, -0.08])


def test_the_score_adds_up() -> None:
    def heard(
        text: str, starts: tuple[int, ...], blanks: float, frames: int, in_pauses: int
    ) -> DecodedUtterance:
        ids = tuple(LETTERS.encode(text))
        tokens, hypothesis = LETTERS.separated(ids), Hypothesis(ids, starts, starts, 0.0)
        return DecodedUtterance(hypothesis, text, tokens, blanks, frames, in_pauses, 30.0)

    utterances = [Utterance(name, Path(name), 0.0, 1.0) for name in ("x", "y")]
    references = [Reference(u, text) for u, text in zip(utterances, ("a b", "a"), strict=True)]
    student = {"x": heard("a", (4,), 0.5, 10, 1), "y": heard("a b", (1, 2, 3), 1.0, 30, 2)}
    teacher = {"x": heard("a b", (3, 5, 6), 0.5, 10, 0), "y": heard("a", (1,), 0.5, 10, 0)}
    noise = {"n": heard("ab", (0, 1), 0.0, 10, 0)}
    score = score_student(student, references, 0.04, noise, 30.0, teacher, 0.04)
    assert score.errors == ((0, 0, 1), (0, 1, 0))
    assert score.reference_words == (2, 1)
    assert score.disagreement == (1, 1)
    assert score.teacher_words == (2, 1)
    assert score.blank_rate == pytest.approx((0.5 * 10 + 1.0 * 30) / 40)
    assert score.spike_offset_ms == pytest.approx(20.0)
    assert score.pause_tokens_per_minute == pytest.approx(3.0)
    assert (score.silence_characters, score.silence_minutes) == (2, 0.5)
    alone = score_student(student, references, 0.04, {}, 0.0)
    assert alone.disagreement is None
    assert alone.errors == score.errors
    phones = score_student(student, references, 0.04, noise, 30.0, teacher, 0.04, phonetic=True)
    assert (phones.unit, score.unit) == ("phones", "words")
    assert phones.errors == ((0, 0, 2), (0, 2, 0))  # a space and a letter, as bench counts characters
    assert phones.reference_words == (3, 1)
    assert phones.teacher_words == (2, 1)  # tokens, without word boundaries
    assert phones.disagreement == (1, 1)

"""Score a student as a research table needs it: errors by utterance, noise, pauses, timing of spikes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from difflib import SequenceMatcher
from typing import Any, Literal, NamedTuple

import jiwer
import numpy as np
import torch
from torch import Tensor

from kdcompress.audio.pauses import pauses
from kdcompress.audio.utterance import Reference, Utterance
from kdcompress.distill.data.audio_batch import audio_batches
from kdcompress.text.decode import Hypothesis, greedy
from kdcompress.text.normalize import normalize
from kdcompress.text.vocabulary import Vocabulary

Model = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Waveforms [B, S] at 16 kHz and lengths [B] to log-probabilities [B, T, V] and lengths [B]."""


class DecodedUtterance(NamedTuple):
    """The greedy transcript of one utterance, and figures of its frames.

    Attributes:
        tokens: the same with a space between tokens, word boundaries left out.
        blanks: share of frames whose best token is the blank.
        in_pauses: printing tokens that begin within a pause of the speaker.
        pause_seconds: of all pauses [s].
    """

    hypothesis: Hypothesis
    text: str
    tokens: str
    blanks: float
    frames: int
    in_pauses: int
    pause_seconds: float


@dataclass(frozen=True)
class Score:
    """One student on one test set.

    Attributes:
        unit: that errors are counted in.
        errors: substitutions, insertions and deletions of words, by utterance; of phones those of the
            characters of IPA that print them, spaces among them, as `bench --normalizer none` counts.
        reference_words: words or characters, by utterance.
        disagreement: word errors against the teacher's transcript, or errors of its tokens where these are
            phones, by utterance; None without a teacher.
        teacher_words: words or tokens, by utterance.
        blank_rate: share of all frames whose best token is the blank.
        spike_offset_ms: mean over tokens that both have of student's first frame − teacher's [ms].
        spike_spread_ms: standard deviation of the same.
        pause_tokens_per_minute: printed within pauses of the test set.
        silence_characters: printed in the clips without speech.
        silence_minutes: how long these are.
    """

    ids: tuple[str, ...]
    errors: tuple[tuple[int, int, int], ...]
    reference_words: tuple[int, ...]
    disagreement: tuple[int, ...] | None
    teacher_words: tuple[int, ...] | None
    blank_rate: float
    spike_offset_ms: float | None
    spike_spread_ms: float | None
    pause_tokens_per_minute: float | None
    silence_characters: int
    silence_minutes: float
    unit: Literal["words", "phones"] = "words"

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


@torch.no_grad()
def decode(
    model: Model, vocabulary: Vocabulary, frame_shift: float, utterances: Sequence[Utterance]
) -> dict[str, DecodedUtterance]:
    """Run a model over utterances, in batches of like duration, and decode greedily.

    Args:
        frame_shift: of the model's output [s].
    """
    found = {}
    for batch in audio_batches(utterances, 30.0):
        log_probs, lengths = model(batch.waveforms, batch.lengths)
        for row, id_ in enumerate(batch.ids):
            own = log_probs[row, : int(lengths[row])].cpu().numpy()
            hypothesis = greedy(own, vocabulary)
            silent = pauses(batch.waveforms[row, : int(batch.lengths[row])].numpy())
            starts = [span.start for span in hypothesis.tokens(vocabulary, frame_shift) if span.text.strip()]
            found[id_] = DecodedUtterance(
                hypothesis,
                hypothesis.text(vocabulary),
                vocabulary.separated(hypothesis.ids),
                float((own.argmax(axis=1) == vocabulary.blank).mean()) if len(own) else 1.0,
                len(own),
                sum(any(start <= at < end for start, end in silent) for at in starts),
                sum(end - start for start, end in silent),
            )
    return found


def score_student(
    decoded: Mapping[str, DecodedUtterance],
    references: Sequence[Reference],
    frame_shift: float,
    silence: Mapping[str, DecodedUtterance],
    silence_seconds: float,
    teacher: Mapping[str, DecodedUtterance] | None = None,
    teacher_shift: float | None = None,
    *,
    phonetic: bool = False,
) -> Score:
    """Compare a student's transcripts with the references, with silence and with its teacher's.

    Args:
        decoded: by id, at least those of the references.
        silence: of clips without speech.
        teacher: of the same utterances, with its frame shift [s].
        phonetic: whether texts are phones: then they are not normalised.
    """
    normalizer = "none" if phonetic else "basic"
    ids = [r.utterance.id for r in references]
    texts = [normalize(decoded[id_].text, normalizer) for id_ in ids]
    truth = [normalize(r.text, normalizer) for r in references]
    disagreement = teacher_words = offset = spread = None
    if teacher is not None and teacher_shift is not None:
        theirs, ours = [normalize(teacher[id_].text, normalizer) for id_ in ids], texts
        if phonetic:
            theirs, ours = ([one[id_].tokens for id_ in ids] for one in (teacher, decoded))
        disagreement = tuple(sum(edits) for edits in word_errors(theirs, ours))
        teacher_words = tuple(len(text.split()) for text in theirs)
        offsets = [
            offset
            for id_ in ids
            for offset in spike_offsets(
                decoded[id_].hypothesis, frame_shift, teacher[id_].hypothesis, teacher_shift
            )
        ]
        if offsets:
            offset, spread = 1000 * float(np.mean(offsets)), 1000 * float(np.std(offsets))
    frames = sum(decoded[id_].frames for id_ in ids)
    pause_minutes = sum(decoded[id_].pause_seconds for id_ in ids) / 60
    in_pauses = sum(decoded[id_].in_pauses for id_ in ids)
    return Score(
        ids=tuple(ids),
        errors=tuple(character_errors(truth, texts) if phonetic else word_errors(truth, texts)),
        reference_words=tuple(len(text if phonetic else text.split()) for text in truth),
        disagreement=disagreement,
        teacher_words=teacher_words,
        blank_rate=sum(decoded[id_].blanks * decoded[id_].frames for id_ in ids) / max(1, frames),
        spike_offset_ms=offset,
        spike_spread_ms=spread,
        pause_tokens_per_minute=in_pauses / pause_minutes if pause_minutes else None,
        silence_characters=sum(len(clip.text) for clip in silence.values()),
        silence_minutes=silence_seconds / 60,
        unit="phones" if phonetic else "words",
    )


def word_errors(references: Sequence[str], texts: Sequence[str]) -> list[tuple[int, int, int]]:
    """Return substitutions, insertions and deletions of words, by utterance; references may be empty."""
    return [
        _edits(jiwer.process_words(reference, text)) if reference else (0, len(text.split()), 0)
        for reference, text in zip(references, texts, strict=True)
    ]


def character_errors(references: Sequence[str], texts: Sequence[str]) -> list[tuple[int, int, int]]:
    """Return the same of characters, spaces among them."""
    return [
        _edits(jiwer.process_characters(reference, text)) if reference else (0, len(text), 0)
        for reference, text in zip(references, texts, strict=True)
    ]


def _edits(output: Any) -> tuple[int, int, int]:
    return output.substitutions, output.insertions, output.deletions


def spike_offsets(
    student: Hypothesis, student_shift: float, teacher: Hypothesis, teacher_shift: float
) -> list[float]:
    """Return student's minus teacher's first frame [s] of the tokens that both have, in order."""
    matcher = SequenceMatcher(a=teacher.ids, b=student.ids, autojunk=False)
    return [
        student.starts[block.b + k] * student_shift - teacher.starts[block.a + k] * teacher_shift
        for block in matcher.get_matching_blocks()
        for k in range(block.size)
    ]

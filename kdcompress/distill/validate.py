"""Compare a student with its teacher on held-out audio, without transcripts."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, TypeVar

import jiwer
import torch
from accelerate import Accelerator
from torch import Tensor

from kdcompress.audio.utterance import Utterance
from kdcompress.distill.data.audio_batch import Batch, audio_batches
from kdcompress.distill.distributed import gathered
from kdcompress.distill.objective.alignment import FrameAlignment
from kdcompress.distill.objective.collisions import Collisions, collisions
from kdcompress.distill.objective.divergences import kl_divergence
from kdcompress.distill.posteriors.source import PosteriorSource
from kdcompress.frontend.masks import valid_frames
from kdcompress.students.student import Student
from kdcompress.teachers.teacher import Posteriors
from kdcompress.text.decode import greedy
from kdcompress.text.normalize import normalize
from kdcompress.text.vocabulary import Vocabulary
from kdcompress.text.word_spacing import unspaced

T = TypeVar("T")


@dataclass(frozen=True)
class ValidationFigures:
    """What a validation found; None where there is no teacher or there are no references.

    Attributes:
        kl: teacher ‖ student, mean over valid frames [nats]; only where training compares frames.
        wer_against_teacher: WER of the student against the teacher's transcript [%]; of characters where
            words are not separated, as in Mandarin.
        blank_rate: share of the student's frames whose best token is the blank.
        teacher_blank_rate: the same of the teacher.
        wer: against the references [%]; of characters likewise.
        units: that the score is counted over.
        ter_against_teacher: token error rate of the student against the teacher [%], word boundaries left
            out; None where their tokens differ.
        unit: of the score: tokens where the vocabulary is phones, of which a word is right only as a whole.
    """

    kl: float | None
    wer_against_teacher: float | None
    blank_rate: float
    teacher_blank_rate: float | None
    wer: float | None
    units: int = 0
    ter_against_teacher: float | None = None
    unit: Literal["words", "characters", "tokens"] = "words"

    @property
    def score(self) -> float:
        """What chooses the best checkpoint [%], lower is better: errors against the teacher, else the WER."""
        if self.unit == "tokens" and self.ter_against_teacher is not None:
            return self.ter_against_teacher
        if self.wer_against_teacher is not None:
            return self.wer_against_teacher
        return self.wer if self.wer is not None else 100.0

    def as_good_as(self, lowest: float | None) -> bool:
        """Tell whether the score is within one standard error of the lowest so far; then the later is better.

        Held-out audio is short, the lowest of many noisy scores is low by luck, often in the middle of a run,
        and since then the learning rate has only gone down (the rule of one standard error of Breiman et al.
        1984, with the end of the schedule in the place of the smaller model).
        """
        if lowest is None:
            return True
        rate = min(1.0, lowest / 100)
        return self.score <= lowest + 100 * math.sqrt(rate * (1 - rate) / max(1, self.units))

    def to_json(self) -> dict[str, float | str]:
        """Return the figures that there are, rounded for metrics.jsonl."""
        found = {name: value for name, value in asdict(self).items() if value is not None}
        return {name: value if name == "unit" else round(value, 5) for name, value in found.items()}


class Validation:
    """Held-out audio, decoded once, with the teacher's posteriors of it.

    Attributes:
        is_spoken: the teacher transcribes something of it.
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        vocabulary: Vocabulary,
        source: PosteriorSource | None,
        references: Mapping[str, str] | None,
        batch_seconds: float,
        alignment: FrameAlignment | None,
        accelerator: Accelerator | None = None,
    ) -> None:
        """Decode this process's share of the audio and run the teacher on it; every process must.

        Args:
            references: text by utterance id, when the user named some.
            alignment: of the teacher's frames with the student's; None where they are not compared.
            accelerator: of the processes that share the audio; None where there is one.
        """
        self.accelerator = accelerator
        if accelerator is not None and accelerator.num_processes > 1:
            ranked = sorted(utterances, key=lambda u: (u.duration, u.id))
            utterances = ranked[accelerator.process_index :: accelerator.num_processes]
        self.vocabulary = vocabulary
        self.teacher_vocabulary = vocabulary if source is None else source.vocabulary
        self.alignment = alignment
        self.batches: list[tuple[Batch, Posteriors | None]] = []
        for batch in audio_batches(utterances, batch_seconds):
            self.batches.append((batch, None if source is None else source(batch).to(source.device)))
        self.taught = [
            pair
            for _, posteriors in self.batches
            if posteriors is not None
            for pair in _decoded(posteriors.log_probs, posteriors.lengths, self.teacher_vocabulary)
        ]
        self.is_spoken = any(self._of_all(any(text for text, _ in self.taught)))
        self.references = None
        if references is not None:
            ids = (id_ for batch, _ in self.batches for id_ in batch.ids)
            self.references = [normalize(references[id_], "basic") for id_ in ids]

    @torch.no_grad()
    def __call__(self, student: Student, device: torch.device) -> ValidationFigures:
        """Run the student in eval mode over the held-out audio and compare; every process must call this."""
        was_training = student.training
        student.eval()
        decoded: list[tuple[str, str]] = []
        kl = 0.0
        frames = blanks = teacher_frames = teacher_blanks = 0.0  # as they are added up over processes
        for batch, posteriors in self.batches:
            log_probs, lengths = student(batch.waveforms.to(device), batch.lengths.to(device))
            decoded += _decoded(log_probs, lengths, self.vocabulary)
            valid = valid_frames(lengths, log_probs.shape[1])
            frames += int(lengths.sum())
            blanks += int((log_probs[valid].argmax(-1) == self.vocabulary.blank).sum())
            if posteriors is not None and self.alignment is not None:
                aligned = self.alignment(posteriors, lengths, batch.ids)
                both = valid_frames(aligned.lengths, min(log_probs.shape[1], aligned.log_probs.shape[1]))
                wanted = aligned.log_probs[:, : both.shape[1]][both]
                kl += float(kl_divergence(wanted, log_probs[:, : both.shape[1]][both]))
                teacher_frames += len(wanted)
                teacher_blanks += int((wanted.argmax(-1) == self.vocabulary.blank).sum())
        student.train(was_training)
        sums = self._of_all((kl, frames, blanks, teacher_frames, teacher_blanks))
        kl, frames, blanks, teacher_frames, teacher_blanks = map(sum, zip(*sums, strict=True))
        decoded = [pair for share in self._of_all(decoded) for pair in share]
        taught = [pair for share in self._of_all(self.taught) for pair in share]
        spoken = [text for share in self._of_all(self.references or []) for text in share]
        texts = [text for text, _ in decoded]
        wer, against_teacher, by_token, units = None, None, None, 0
        unit: Literal["words", "characters", "tokens"] = "words"
        if self.references is not None:
            normalized = [normalize(text, "basic") for text in texts]
            by_character = unspaced(spoken)
            wer, units = error_rate(spoken, normalized, by_character)
            unit = "characters" if by_character else "words"
        if taught:
            theirs = [text for text, _ in taught]
            by_character = self.vocabulary.word_boundary is None or unspaced(theirs)
            against_teacher, units = error_rate(theirs, texts, by_character)
            unit = "characters" if by_character else "words"
            if self.vocabulary == self.teacher_vocabulary:
                correct, found = ([text for _, text in side] for side in (taught, decoded))
                by_token, count = error_rate(correct, found, by_character=False)
                if self.vocabulary.phonetic:
                    units, unit = count, "tokens"
        return ValidationFigures(
            kl=kl / teacher_frames if teacher_frames else None,
            wer_against_teacher=against_teacher,
            blank_rate=blanks / max(1, frames),
            teacher_blank_rate=teacher_blanks / teacher_frames if teacher_frames else None,
            wer=wer,
            units=units,
            ter_against_teacher=by_token,
            unit=unit,
        )

    def collisions(self) -> Collisions:
        """Count the teacher's tokens that the student has no frames for; every process must call this."""
        found, alignment = Collisions(), self.alignment
        for _, posteriors in self.batches:
            if posteriors is not None and alignment is not None:
                found += collisions(posteriors.log_probs, posteriors.lengths, alignment.blank, alignment.pool)
        return sum(self._of_all(found), Collisions())

    def _of_all(self, share: T) -> list[T]:
        """Return what each process found in its share of the audio."""
        return [share] if self.accelerator is None else gathered([share], self.accelerator)


def _decoded(log_probs: Tensor, lengths: Tensor, vocabulary: Vocabulary) -> list[tuple[str, str]]:
    """Return each utterance's text, and its tokens parted by spaces."""
    rows = log_probs.cpu().numpy()
    found = [greedy(rows[index, :length], vocabulary) for index, length in enumerate(lengths.tolist())]
    return [(one.text(vocabulary), vocabulary.separated(one.ids)) for one in found]


def error_rate(references: Sequence[str], texts: Sequence[str], by_character: bool) -> tuple[float, int]:
    """Return an error rate [%] and the words, or characters, in the references.

    Where all of these are empty, it is 0 for no words and 100 for any.
    """
    units = sum(len(text if by_character else text.split()) for text in references)
    pairs = [(r, t) for r, t in zip(references, texts, strict=True) if r]
    if not pairs:
        return 100.0 if any(texts) else 0.0, units
    expected, found = ([pair[side] for pair in pairs] for side in (0, 1))
    return 100 * float((jiwer.cer if by_character else jiwer.wer)(expected, found)), units

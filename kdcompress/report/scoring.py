"""Everything that follows from texts alone: a run and `--rescore` both end here, with the same numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kdcompress.errors import BenchError
from kdcompress.report.accuracy import Accuracy, ErrorRate, Errors, character_errors, word_errors
from kdcompress.report.differences import Difference, error_difference
from kdcompress.text.normalize import normalize

CASE_NOTE = "letter case alone makes "


@dataclass(frozen=True)
class ReferenceText:
    """An utterance as scoring knows it.

    Attributes:
        duration: [s].
        reference: what was said, as written; None where nobody knows.
    """

    id: str
    duration: float
    reference: str | None


@dataclass(frozen=True)
class NonSpeech:
    """What a candidate wrote down where nobody spoke: where the normalised reference is empty.

    Attributes:
        seconds: length of those utterances together [s].
        characters, words: of the normalised hypotheses.
    """

    utterances: int
    seconds: float
    characters: int
    words: int

    def to_json(self) -> dict[str, Any]:
        """Return plain data; `per_minute` counts words."""
        return {
            "utterances": self.utterances,
            "seconds": self.seconds,
            "characters": self.characters,
            "words": self.words,
            "per_minute": 60 * self.words / self.seconds if self.seconds else None,
        }


@dataclass(frozen=True)
class Agreement:
    """How far a candidate says what the reference candidate says; needs no transcript.

    Attributes:
        reference: name of that candidate.
        wer: of the candidate, were the other's transcripts right.
        same: share of utterances with equal normalised transcripts.
    """

    reference: str
    wer: ErrorRate
    same: float

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {"reference": self.reference, "wer": self.wer.to_json(), "same": self.same}


@dataclass(frozen=True)
class Score:
    """What the texts of one candidate are worth.

    Attributes:
        accuracy: None without references.
        non_speech: None where every reference holds words, and without references.
        agreement: None for the reference candidate itself, and where that failed.
        notes: what a reader of the figures must know.
    """

    accuracy: Accuracy | None
    non_speech: NonSpeech | None
    agreement: Agreement | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scores:
    """Scores by candidate, and their differences from the reference candidate."""

    of: Mapping[str, Score]
    differences: tuple[Difference, ...]


@dataclass(frozen=True)
class _Counted:
    """One candidate's normalised texts, in the order of the utterances, and their errors if they have any."""

    texts: list[str]
    words: Errors | None = None
    characters: Errors | None = None


def score_candidates(
    spoken: Sequence[ReferenceText],
    hypotheses: Mapping[str, Mapping[str, str]],
    *,
    normalizer: str,
    reference: str,
    seed: int = 0,
) -> Scores:
    """Score raw hypotheses, those of every candidate that answered for every utterance.

    Args:
        spoken: at least one; either all have references or none has.
        hypotheses: by candidate and utterance id.
        normalizer: applied to both sides.
        reference: the candidate that the others are compared with; need not be among them.
        seed: of the bootstrap.

    Raises:
        BenchError: some references are missing, or a hypothesis is.
        ConfigError: there is no normaliser of that name.
    """
    known = [utterance.reference for utterance in spoken if utterance.reference is not None]
    if known and len(known) != len(spoken):
        raise BenchError(f"{len(spoken) - len(known)} of {len(spoken)} utterances have no reference text")
    references = [normalize(text, normalizer) for text in known]
    counted = {}
    for name, raw in hypotheses.items():
        if missing := [utterance.id for utterance in spoken if utterance.id not in raw]:
            raise BenchError(f"{name} has no hypothesis for {missing[0]!r}, {len(missing)} missing in all")
        texts = [normalize(raw[utterance.id], normalizer) for utterance in spoken]
        counted[name] = (
            _Counted(texts, word_errors(references, texts), character_errors(references, texts))
            if known
            else _Counted(texts)
        )
    against = counted.get(reference)
    found = {
        name: Score(
            accuracy=_accuracy(own, seed),
            non_speech=_non_speech(spoken, references, own.texts),
            agreement=_agreement(reference, against, own, seed) if against and against is not own else None,
            notes=_notes(references, own, normalizer),
        )
        for name, own in counted.items()
    }
    differences = (
        _differences((name, reference), own, against, seed)
        for name, own in counted.items()
        if against and against is not own
    )
    return Scores(found, tuple(one for pair in differences for one in pair))


def _accuracy(own: _Counted, seed: int) -> Accuracy | None:
    if own.words is None or own.characters is None:
        return None
    return Accuracy(wer=own.words.rate(seed), cer=own.characters.rate(seed))


def _non_speech(
    spoken: Sequence[ReferenceText], references: Sequence[str], texts: Sequence[str]
) -> NonSpeech | None:
    silent = [n for n, reference in enumerate(references) if not reference.strip()]
    if not silent:
        return None
    return NonSpeech(
        utterances=len(silent),
        seconds=sum(spoken[n].duration for n in silent),
        characters=sum(len(texts[n].strip()) for n in silent),
        words=sum(len(texts[n].split()) for n in silent),
    )


def _agreement(name: str, against: _Counted, own: _Counted, seed: int) -> Agreement:
    pairs = list(zip(against.texts, own.texts, strict=True))
    same = sum(theirs == ours for theirs, ours in pairs) / len(pairs)
    return Agreement(name, word_errors(against.texts, own.texts).rate(seed), same)


def _differences(names: tuple[str, str], own: _Counted, against: _Counted, seed: int) -> list[Difference]:
    found = []
    if own.words and against.words:
        found.append(error_difference(names, "wer", own.words, against.words, seed))
    if own.characters and against.characters:
        found.append(error_difference(names, "cer", own.characters, against.characters, seed))
    return [one for one in found if one is not None]


def _notes(references: Sequence[str], own: _Counted, normalizer: str) -> tuple[str, ...]:
    """Tell letter case from errors: only `none` lets it count."""
    if own.words is None or normalizer != "none":
        return ()
    errors = int(own.words.total.sum())
    folded = word_errors([text.casefold() for text in references], [text.casefold() for text in own.texts])
    case = errors - int(folded.total.sum())
    if not case:
        return ()
    return (f"{CASE_NOTE}{case} of {errors} word errors: the normaliser basic does not count it",)

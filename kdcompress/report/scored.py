"""What follows from the texts of candidates, and from a comparison with earlier ones: parts of a report."""

from collections.abc import Mapping
from typing import Literal, TypeAlias

from pydantic import model_validator
from typing_extensions import Self

from kdcompress.report.measured import Estimate, Record

Quantity: TypeAlias = Literal["wer", "cer", "rtf"]


class ErrorRate(Record):
    """Errors of a corpus, counted; the rate is all errors / all reference units, not a mean of utterances.

    Attributes:
        rate: None where the references are all empty.
        low, high: bootstrap 95 % interval of the rate over utterances; None where the rate is.
        reference: words or characters in the references.
    """

    rate: float | None
    low: float | None = None
    high: float | None = None
    substitutions: int
    insertions: int
    deletions: int
    reference: int

    @property
    def errors(self) -> int:
        """Edits that turn the hypotheses into the references."""
        return self.substitutions + self.insertions + self.deletions

    @property
    def estimate(self) -> Estimate | None:
        """The rate with its interval."""
        return None if self.rate is None else Estimate(self.rate, self.low, self.high)


class Accuracy(Record):
    """Word and character error rate of one candidate."""

    wer: ErrorRate
    cer: ErrorRate


class NonSpeech(Record):
    """What a candidate wrote down where nobody spoke: where the normalised reference is empty.

    Attributes:
        seconds: length of those utterances together [s].
        characters, words: of the normalised hypotheses.
        per_minute: words; None where the utterances are empty.
    """

    utterances: int
    seconds: float
    characters: int
    words: int
    per_minute: float | None


class Agreement(Record):
    """How far a candidate says what the reference candidate says; needs no transcript.

    Attributes:
        reference: name of that candidate.
        wer: of the candidate, were the other's transcripts right.
        same: share of utterances with equal normalised transcripts.
    """

    reference: str
    wer: ErrorRate
    same: float


class Difference(Record):
    """One candidate against the reference candidate, on the same utterances and in the same passes.

    Attributes:
        measure: `wer` and `cer` are differences of rates, the candidate's minus the baseline's; `rtf` is a
            ratio, the candidate's time over the baseline's.
        low, high: bootstrap interval at 95 %, over utterances, or over repeats and blocks of utterances.
        p: two-sided, of no difference.
    """

    candidate: str
    baseline: str
    measure: Quantity
    value: float
    low: float
    high: float
    p: float | None = None

    @property
    def estimate(self) -> Estimate:
        """The value with its interval."""
        return Estimate(self.value, self.low, self.high)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.measure == "rtf" and min(self.value, self.low, self.high) <= 0:
            raise ValueError("a ratio of times is above zero")
        return self


class StressScore(Record):
    """What one candidate printed under one stress.

    Attributes:
        wer: None where nobody speaks.
        cost: points of WER above what the candidate has without the stress, paired over utterances.
        characters: printed where nobody speaks; None elsewhere.
    """

    candidate: str
    wer: ErrorRate | None = None
    cost: Estimate | None = None
    characters: int | None = None


class Stressed(Record):
    """The utterances again, all changed in one way.

    Attributes:
        name, about: of the change.
        seconds: of audio.
        groups: ids of the utterances in each clip, in order; of clips without speech, made-up ids.
        hypotheses: raw texts of the clips, by candidate; those that failed are missing.
        scores: of the same candidates.
    """

    name: str
    about: str = ""
    seconds: float
    groups: tuple[tuple[str, ...], ...]
    hypotheses: Mapping[str, tuple[str, ...]]
    scores: tuple[StressScore, ...] = ()

    def score(self, candidate: str) -> StressScore | None:
        """Return what is known of a candidate."""
        return next((score for score in self.scores if score.candidate == candidate), None)


class Finding(Record):
    """What the gate found of one candidate.

    Attributes:
        value, low, high: the change with its 95 % interval, in points, s or a ratio; None for `presence`; of
            `stress`, points above what is allowed; of `non-speech`, characters.
        limit: None where none was set.
        broken: whether the interval lies beyond the limit, or the candidate is missing or failed.
        sentence: all of that for people.
    """

    candidate: str
    measure: Literal["presence", "wer", "rtf", "delay", "stress", "non-speech"]
    broken: bool
    sentence: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    limit: float | None = None


class Verdict(Record):
    """What the gate found; `notes` say what was not judged, and why, and how to read the rest."""

    broken: bool
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()

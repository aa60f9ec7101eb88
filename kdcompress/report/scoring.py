"""Everything that follows from texts alone: a run and `--rescore` both end here, with the same numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

from kdcompress.errors import BenchError
from kdcompress.report.accuracy import Errors, character_errors, word_errors
from kdcompress.report.differences import error_difference
from kdcompress.report.measured import Facts
from kdcompress.report.record import CandidateResult, ReferenceText, Report
from kdcompress.report.scored import Accuracy, Agreement, Difference, NonSpeech
from kdcompress.report.stress import score_stresses
from kdcompress.text.normalize import NORMALIZER_VERSIONS, normalize

CASE_NOTE = "letter case alone makes "


@dataclass(frozen=True)
class _Counted:
    """One candidate's normalised texts, in the order of the utterances, and their errors if they have any."""

    texts: list[str]
    words: Errors | None = None
    characters: Errors | None = None


def score_report(report: Report, normalizer: str) -> Report:
    """Score the raw hypotheses of a report, those of every candidate that did not fail.

    Replaces accuracy, non_speech, agreement and the differences of error rates; what does not follow from
    texts stays. Seed and reference candidate are the report's own.

    Args:
        report: either all of its utterances have references or none has.
        normalizer: applied to both sides.

    Raises:
        BenchError: some references are missing, or there is no candidate of the reference's name.
        ConfigError: there is no normaliser of that name.
    """
    reference, seed = report.settings.reference, report.settings.seed
    if report.result(reference) is None:
        names = ", ".join(result.name for result in report.results)
        raise BenchError(f"no candidate {reference!r} to compare with; there are {names}")
    known = [utterance.reference for utterance in report.utterances if utterance.reference is not None]
    if known and len(known) != len(report.utterances):
        missing = len(report.utterances) - len(known)
        raise BenchError(f"{missing} of {len(report.utterances)} utterances have no reference text")
    references = [normalize(text, normalizer) for text in known]
    counted = {}
    for result in report.measured:
        texts = [normalize(result.hypotheses[one.id], normalizer) for one in report.utterances]
        errors = (word_errors(references, texts), character_errors(references, texts)) if known else ()
        counted[result.name] = _Counted(texts, *errors)
    against = counted.get(reference)
    results, differences = [], []
    for result in report.results:
        own = counted.get(result.name)
        compared = against if own is not against else None
        results.append(_scored(report, result, own, compared, references, normalizer))
        if own and compared:
            differences += _differences((result.name, reference), own, compared, seed)
    times = [one for one in report.differences if one.measure == "rtf"]
    settings = {"normalizer": normalizer, "normalizer_version": NORMALIZER_VERSIONS[normalizer]}
    return report.model_copy(
        update={
            "stresses": score_stresses(report, references, normalizer),
            "settings": report.settings.model_copy(update=settings),
            "results": tuple(results),
            "differences": (*differences, *times),
        }
    )


def _scored(
    report: Report,
    result: CandidateResult,
    own: _Counted | None,
    against: _Counted | None,
    references: Sequence[str],
    normalizer: str,
) -> CandidateResult:
    found: dict[str, object] = dict.fromkeys(("accuracy", "non_speech", "agreement"))
    notes = [note for note in result.notes if not note.startswith(CASE_NOTE)]
    seed = report.settings.seed
    if own is not None:
        if own.words and own.characters:
            found["accuracy"] = Accuracy(wer=own.words.rate(seed), cer=own.characters.rate(seed))
        found["non_speech"] = _non_speech(report.utterances, references, own.texts)
        if against is not None:
            found["agreement"] = _agreement(report.settings.reference, against, own, seed)
        notes += _case_notes(references, own, normalizer)
    if result.facts or notes:
        found["facts"] = (result.facts or Facts()).model_copy(update={"notes": tuple(notes)})
    return result.model_copy(update=found)


def _non_speech(
    utterances: Sequence[ReferenceText], references: Sequence[str], texts: Sequence[str]
) -> NonSpeech | None:
    silent = [n for n, reference in enumerate(references) if not reference.strip()]
    if not silent:
        return None
    seconds = sum(utterances[n].duration for n in silent)
    words = sum(len(texts[n].split()) for n in silent)
    return NonSpeech(
        utterances=len(silent),
        seconds=seconds,
        characters=sum(len(texts[n].strip()) for n in silent),
        words=words,
        per_minute=60 * words / seconds if seconds else None,
    )


def _agreement(name: str, against: _Counted, own: _Counted, seed: int) -> Agreement:
    pairs = list(zip(against.texts, own.texts, strict=True))
    same = sum(theirs == ours for theirs, ours in pairs) / len(pairs)
    return Agreement(reference=name, wer=word_errors(against.texts, own.texts).rate(seed), same=same)


def _differences(names: tuple[str, str], own: _Counted, against: _Counted, seed: int) -> list[Difference]:
    found = []
    if own.words and against.words:
        found.append(error_difference(names, "wer", own.words, against.words, seed))
    if own.characters and against.characters:
        found.append(error_difference(names, "cer", own.characters, against.characters, seed))
    return [one for one in found if one is not None]


def _case_notes(references: Sequence[str], own: _Counted, normalizer: str) -> list[str]:
    """Tell letter case from errors: only `none` lets it count."""
    if own.words is None or normalizer != "none":
        return []
    errors = int(own.words.total.sum())
    folded = word_errors([text.casefold() for text in references], [text.casefold() for text in own.texts])
    case = errors - int(folded.total.sum())
    return (
        [f"{CASE_NOTE}{case} of {errors} word errors: the normaliser basic does not count it"] if case else []
    )

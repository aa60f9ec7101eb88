"""A report in four figures and a few sentences, for who decides."""

from dataclasses import dataclass

from kdcompress.report.measured import Estimate
from kdcompress.report.pages.alignment import Alignments
from kdcompress.report.pages.choice import Choice, choose, error_estimate, increase
from kdcompress.report.pages.figures import duration, fixed, listed, plural, significant, size
from kdcompress.report.record import CandidateResult, Report

_GAIN = 1.05  # below this ratio a difference is not worth a word
_FEW_UTTERANCES, _FEW_PASSES = 50, 3


@dataclass(frozen=True)
class Tile:
    """One key figure: what it is, how much, of which model, and what it means."""

    title: str
    figure: str
    model: str
    meaning: str


@dataclass(frozen=True)
class Summary:
    """What a manager reads.

    Attributes:
        sentences: what was found, the most important first.
        failures: what was not measured, one sentence a candidate.
        cautions: what makes figures doubtful.
        gate: sentences about limits that were set against an earlier report, and whether each is broken.
        picked: whether one model is recommended.
    """

    sentences: tuple[str, ...]
    tiles: tuple[Tile, ...]
    failures: tuple[str, ...]
    cautions: tuple[str, ...]
    picked: bool
    gate: tuple[tuple[bool, str], ...] = ()


def summarize(report: Report, alignments: Alignments) -> Summary:
    """Say which models stand out and what a reader must beware of."""
    choice = choose(report, alignments)
    return Summary(
        sentences=tuple(_sentences(report, alignments, choice)),
        tiles=tuple(_tiles(report, choice)),
        failures=tuple(
            f"{result.name} failed and was not timed: {result.failed}" for result in report.failed
        ),
        cautions=tuple(_cautions(report, alignments)),
        picked=choice.pick is not None,
        gate=tuple(_gate(report)),
    )


def _sentences(report: Report, alignments: Alignments, choice: Choice) -> list[str]:
    if not report.measured:
        return ["No model could be measured: all of them failed."]
    sentences = []
    best, first = choice.best, report.measured[0]
    if best is not None and (error := error_estimate(report, best)) is not None:
        sentences.append(_accuracy(report, best, error))
    elif first.rtf is not None and len(report.measured) == 1:
        sentences.append(f"{first.name} decodes an hour of audio in {duration(3600 * first.rtf.value)}.")
    if choice.pick is not None:
        sentences += _recommendation(report, alignments, choice, choice.pick)
    return sentences


def _accuracy(report: Report, best: CandidateResult, error: Estimate) -> str:
    figure, interval = fixed(100 * error.value, 1), _interval(error)
    if report.stand_in:
        return (
            f"There are no references: {best.name} is the closest to {report.stand_in}, with {figure} "
            f"differences in 100 words{interval}."
        )
    if len(report.measured) == 1:
        speed = f", and decodes an hour of audio in {duration(3600 * best.rtf.value)}" if best.rtf else ""
        return f"{best.name} makes {figure} errors in 100 words{interval}{speed}."
    return f"{best.name} is the most accurate, with {figure} errors in 100 words{interval}."


def _recommendation(
    report: Report, alignments: Alignments, choice: Choice, pick: CandidateResult
) -> list[str]:
    sentences = []
    best, candidate = choice.best, choice.candidate
    if candidate is not None and best is not None and candidate is not best:
        trade = _trade(alignments, candidate, best)
        sentences.append(f"{candidate.name} is the most accurate that runs without PyTorch{trade}.")
    if pick is not candidate and candidate is not None:
        gains = _gains(pick, candidate) or "and no slower"
        sentences.append(
            f"{pick.name} is about as accurate, as far as {plural(len(report.utterances), 'utterance')} can "
            f"tell, {gains}: it is the one to pick."
        )
    else:
        sentences.append(f"None that is faster or smaller comes close: {pick.name} is the one to pick.")
    fastest, smallest = choice.fastest, choice.smallest
    for other in (fastest, smallest if smallest is not fastest else None):
        if other is not None and other not in (pick, best) and (gains := _gains(other, pick)):
            more = increase(alignments, other, pick)
            price = f", for {_price(more, pick)}" if more else f" than {pick.name}"
            sentences.append(f"{other.name} is {gains}{price}.")
    return sentences


def _trade(alignments: Alignments, result: CandidateResult, over: CandidateResult) -> str:
    gains, more = _gains(result, over), increase(alignments, result, over)
    price = f", for {_price(more, over)}" if more is not None else ""
    return f": {gains}{price}" if gains else price


def _interval(found: Estimate) -> str:
    if found.low is None or found.high is None:
        return ""
    return f" (95 % interval {fixed(100 * found.low, 1)} to {fixed(100 * found.high, 1)})"


def _price(more: Estimate, over: CandidateResult) -> str:
    low, high = more.low or 0.0, more.high or 0.0
    if more.value <= 0:
        return f"no more errors than {over.name}"
    chance = "" if low > 0 else ": it could be chance"
    return (
        f"{fixed(100 * more.value, 1)} more errors in 100 words than {over.name} "
        f"({fixed(100 * low, 1)} to {fixed(100 * high, 1)} more{chance})"
    )


def _gains(result: CandidateResult, over: CandidateResult) -> str:
    gains = []
    ours, theirs = result.rtf, over.rtf
    if ours and theirs and ours.value and theirs.value / ours.value >= _GAIN:
        gains.append(f"{significant(theirs.value / ours.value, 2)}× faster")
    if result.bytes and over.bytes and over.bytes / result.bytes >= _GAIN:
        gains.append(f"{significant(over.bytes / result.bytes, 2)}× smaller")
    return listed(gains)


def _gate(report: Report) -> list[tuple[bool, str]]:
    """Return what was judged; a finding without a limit is none of the gate's business."""
    found = report.gate.findings if report.gate else ()
    return [(one.broken, one.sentence) for one in found if one.broken or one.limit is not None]


# A bundle is larger: it holds a graph for each variant, and what other runtimes want.
_SIZE = "its graph with all weights; the whole bundle is larger where it holds other variants, too"


def _tiles(report: Report, choice: Choice) -> list[Tile]:
    tiles = []
    best, fastest, smallest, pick = choice.best, choice.fastest, choice.smallest, choice.pick
    if best is not None and (error := error_estimate(report, best)) is not None:
        against = report.stand_in
        meaning = f"of words differ from {against}" if against else "word error rate"
        title = "Closest transcripts" if against else "Fewest errors"
        figure = f"{fixed(100 * error.value, 2)} %"
        tiles.append(Tile(title, figure, best.name, meaning + _interval(error)))
    if fastest is not None and (rtf := fastest.rtf) is not None and rtf.value > 0:
        meaning = f"faster than real time: an hour of audio in {duration(3600 * rtf.value)}"
        tiles.append(Tile("Fastest", f"{significant(1 / rtf.value)}×", fastest.name, meaning))
    if smallest is not None:
        tiles.append(Tile("Smallest", size(smallest.bytes), smallest.name, _SIZE))
    if pick is not None and (error := error_estimate(report, pick)) is not None:
        speed = f", an hour of audio in {duration(3600 * pick.rtf.value)}" if pick.rtf else ""
        weight = f", {size(pick.bytes)}" if pick.bytes else ""
        tiles.append(
            Tile("What to pick", pick.name, "", f"{fixed(100 * error.value, 2)} % errors{speed}{weight}")
        )
    return tiles


def _cautions(report: Report, alignments: Alignments) -> list[str]:
    cautions = [f"{result.name}: {note}" for result in report.measured for note in result.notes]
    if 0 < len(report.utterances) < _FEW_UTTERANCES:
        cautions.append(f"Only {plural(len(report.utterances), 'utterance')}: error rates are rough.")
    passes = report.settings.repeats
    if 0 < passes < _FEW_PASSES and any(result.rtf for result in report.measured):
        counted = plural(passes, "timed pass", "timed passes")
        cautions.append(f"Only {counted}: how far times may range is hardly known.")
    if alignments.caution:
        cautions.append(alignments.caution)
    return cautions

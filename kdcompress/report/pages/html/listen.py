"""The worst utterances on the page: what was said, what was heard instead, and how it sounds."""

from collections.abc import Sequence

from kdcompress.report.pages.alignment import Alignment, Edit
from kdcompress.report.pages.figures import fixed, listed, plural, size
from kdcompress.report.pages.html.audio import EmbeddedAudio
from kdcompress.report.pages.html.markup import Markup, tag
from kdcompress.report.pages.view import Entry, ReportView
from kdcompress.report.pages.worst import WorstUtterance


def worst_section(report: ReportView, worst: Sequence[WorstUtterance], audio: EmbeddedAudio | None) -> Markup:
    """Return the section; one sentence where nothing is wrong."""
    if not worst:
        return tag("p", "No utterance was heard wrongly, or there is nothing to compare with.", class_="note")
    truth = f"what {report.agreement_with} heard" if report.agreement_with else "the reference"
    return tag(
        "div",
        tag(
            "p",
            f"The utterances with the most word errors, each model's worst among them, against {truth} and "
            "after normalisation. ",
            _audio_sentence(len(worst), audio),
            class_="note",
        ),
        _key(),
        _chooser(worst),
        tag("ol", [_utterance(report, u, audio) for u in worst], class_="worst", id="worst-list"),
    )


def _audio_sentence(shown: int, audio: EmbeddedAudio | None) -> str:
    if audio is None:
        return "Their audio was left out on request."
    inside = len(audio.addresses)
    sentence = (
        f"The audio of {inside} of {shown} is part of this page (at most {size(audio.limit)})."
        if inside
        else "Their audio is not in this page."
    )
    reasons = [
        f"{plural(sum(r == reason for r in audio.missing.values()), 'file')} {reason}"
        for reason in dict.fromkeys(audio.missing.values())
    ]
    return f"{sentence} Left out: {listed(reasons)}." if reasons else sentence


def _key() -> Markup:
    examples = (
        Edit("substitute", "said", "heard"),
        Edit("insert", "", "extra"),
        Edit("delete", "missed", ""),
    )
    meanings = (
        "substituted: heard, over what was said",
        "inserted: heard but not said",
        "deleted: said but not heard",
    )
    return tag(
        "ul",
        [tag("li", _word(edit), " ", meaning) for edit, meaning in zip(examples, meanings, strict=True)],
        class_="key",
        aria_label="How differences are marked",
    )


def _chooser(worst: Sequence[WorstUtterance]) -> Markup:
    """Return the choice of whose errors order the list; the page's script shows it."""
    entries = {entry.index: entry for utterance in worst for entry, _, _ in utterance.heard}
    if len(entries) < 2:
        return Markup("")
    options = [tag("option", entry.name, value=str(index)) for index, entry in sorted(entries.items())]
    return tag(
        "p",
        tag("label", "Order by the errors of ", for_="worst-order"),
        tag("select", tag("option", "all models together", value="all"), options, id="worst-order"),
        class_="chooser",
        hidden=True,
    )


def _utterance(report: ReportView, utterance: WorstUtterance, audio: EmbeddedAudio | None) -> Markup:
    address = audio.addresses.get(utterance.id) if audio else None
    length = "" if utterance.duration is None else f" · {fixed(utterance.duration, 1)} s"
    said = report.agreement_with or "reference"
    counts = {f"data_errors_{e.index}": str(alignment.errors) for e, alignment, _ in utterance.heard}
    return tag(
        "li",
        tag(
            "header",
            tag("h3", tag("bdi", utterance.id)),
            tag("span", f"{plural(utterance.errors, 'error')} in all{length}", class_="muted"),
        ),
        tag("audio", controls=True, preload="metadata", src=address, aria_label=f"Audio of {utterance.id}")
        if address
        else None,
        tag(
            "dl",
            tag("dt", said, class_="said"),
            tag("dd", utterance.said or "nothing was said", dir="auto", class_="said"),
            [_heard(entry, alignment) for entry, alignment, _ in utterance.heard],
        ),
        _as_written(utterance, said),
        data_errors_all=str(utterance.errors),
        **counts,
    )


def _heard(entry: Entry, alignment: Alignment) -> Markup:
    counted = "all right" if not alignment.errors else plural(alignment.errors, "error")
    words: list[Markup | str] = []
    for edit in alignment.edits:
        words += [_word(edit), " "]
    return Markup(
        tag(
            "dt",
            tag("span", class_=f"chip s{entry.index % 8}", aria_hidden="true"),
            tag("span", entry.name),
            tag("span", f" {counted}", class_="muted"),
        )
        + tag("dd", words or tag("span", "(nothing)", class_="muted"), dir="auto")
    )


def _word(edit: Edit) -> Markup | str:
    """Return one word; what is wrong says so to eyes without colours and to ears."""
    if edit.kind == "substitute":
        return tag(
            "span",
            _unseen("[substituted: "),
            tag("ins", edit.heard),
            _unseen(" for "),
            tag("del", edit.said),
            _unseen("]"),
            class_="diff sub",
        )
    if edit.kind == "insert":
        return tag("span", _unseen("[inserted: "), tag("ins", edit.heard), _unseen("]"), class_="diff ins")
    if edit.kind == "delete":
        return tag("span", _unseen("[deleted: "), tag("del", edit.said), _unseen("]"), class_="diff del")
    return edit.said


def _unseen(said: str) -> Markup:
    return tag("span", said, class_="unseen")


def _as_written(utterance: WorstUtterance, said: str) -> Markup | None:
    """Return the texts before normalisation, where that changed any."""
    raw = [(said, utterance.written), *((entry.name, written) for entry, _, written in utterance.heard)]
    normal = {utterance.said, *(" ".join(e.heard for e in a.edits if e.heard) for _, a, _ in utterance.heard)}
    if all(" ".join(written.split()) in normal for _, written in raw):
        return None
    rows = [[tag("dt", name), tag("dd", written or "(nothing)", dir="auto")] for name, written in raw]
    return tag("details", tag("summary", "as written"), tag("dl", rows))

"""Put the page together."""

import base64
import hashlib
import re
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import PurePath

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from kdcompress.report.measured import Estimate
from kdcompress.report.pages.alignment import Alignments
from kdcompress.report.pages.choice import RULE
from kdcompress.report.pages.figures import duration, fixed, listed, plural, size
from kdcompress.report.pages.html.audio import EmbeddedAudio, embed_audio, find_audio
from kdcompress.report.pages.html.bars import error_types, stages
from kdcompress.report.pages.html.lines import latency, throughput
from kdcompress.report.pages.html.markup import clean, tag
from kdcompress.report.pages.html.scatter import scatter
from kdcompress.report.pages.html.stress import stress_costs
from kdcompress.report.pages.setting import Fact, machine_facts, setting_facts, version_facts
from kdcompress.report.pages.summary import Summary, summarize
from kdcompress.report.pages.tables import report_tables
from kdcompress.report.pages.worst import WORST, worst_utterances
from kdcompress.report.record import Report

_TERMS: tuple[Fact, ...] = (
    (
        "WER",
        "word error rate: substituted, inserted and deleted words / words in all references.",
    ),
    ("CER", "the same in characters."),
    ("RTF", "real-time factor: processing time / audio time; 0.01 is a hundred times faster than real time."),
    ("RTFx", "its inverse: how many seconds of audio are decoded in a second."),
    ("95 % interval", "where the rate would lie with other utterances of this kind (bootstrap)."),
    ("least to most", "of times: the extremes over the timed passes."),
    ("p50, p99", "half of all utterances, 99 in 100 of them, took less."),
    ("p", "how often chance alone would show such a difference; below 0.05 it counts as shown."),
)


def render_html(
    report: Report, *, worst: int = WORST, audio: bool = True, embedded: EmbeddedAudio | None = None
) -> str:
    """Return a report as one HTML page that asks nothing of any network.

    Args:
        report: what the benchmark found; what is missing is left out.
        worst: how many of the worst utterances are shown.
        audio: put their audio into the page, where it is at hand.
        embedded: audio to use instead of looking for it.
    """
    alignments = Alignments(report)
    chosen = worst_utterances(report, alignments, worst)
    ids = [utterance.id for utterance in chosen]
    if audio and embedded is None:
        embedded = embed_audio(ids, find_audio(report, ids))
    embedded = embedded if audio else None
    summary = summarize(report, alignments)
    style, script = _resource("style.css"), _resource("page.js")
    settings, machine = report.settings, report.machine
    version = machine.versions.get("kdcompress", "") if machine else ""
    title = "Speech recognition benchmark"
    environment = Environment(
        autoescape=True, finalize=clean, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    return environment.from_string(_resource("page.html.j2")).render(
        title=f"{title}: {PurePath(settings.source).name}" if settings.source else title,
        # By their hashes: an element or an attribute that got in some other way would neither run nor style.
        policy=f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "media-src data:; img-src data:; base-uri 'none'; form-action 'none'",
        style=Markup(style),
        script=Markup(script),
        facts=(
            plural(len(report.results), "model"),
            plural(len(report.utterances), "utterance"),
            f"{duration(settings.audio_seconds)} of audio" if settings.audio_seconds else "",
            machine.cpu if machine else "",
            report.created[:10],
        ),
        index={result.name: at for at, result in enumerate(report.results)},
        summary=summary,
        gate=_gate(summary),
        emphasized=_emphasis([result.name for result in report.results]),
        rule=RULE,
        plots=_plots(report),
        tables=report_tables(report),
        worst=chosen,
        models=list(alignments.of),
        audio=embedded,
        audio_sentence=_audio_sentence(len(chosen), embedded),
        truth=report.stand_in or "reference",
        setting=(
            ("Machine", machine_facts(report)),
            ("Settings", setting_facts(report)),
            ("Versions and variables", version_facts(report)),
        ),
        terms=_TERMS,
        footer=f"Measured by kdcompress{' ' * bool(version)}{version}.",
        plural=plural,
        fixed=fixed,
    )


def _resource(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")


def _hash(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode("ascii")


def _gate(summary: Summary) -> tuple[str, str, list[str]]:
    broken = sum(is_broken for is_broken, _ in summary.gate)
    sentences = [f"{'broken: ' * is_broken}{sentence}" for is_broken, sentence in summary.gate]
    if broken:
        return "failed", f"✕ Gate: {plural(broken, 'limit')} broken", sentences
    return "kept", "✓ Gate: every limit kept", sentences


def _emphasis(names: Sequence[str]) -> Callable[[str], Markup]:
    """Return what makes the names of models stand out in a sentence."""
    longest_first = sorted(names, key=len, reverse=True)
    pattern = re.compile(rf"(?<!\w)({'|'.join(map(re.escape, longest_first))})(?!\w)")

    def emphasized(sentence: str) -> Markup:
        parts = pattern.split(sentence)
        return Markup("").join(tag("strong", part) if part in names else str(clean(part)) for part in parts)

    return emphasized


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


def _plots(report: Report) -> list[tuple[str, Markup]]:
    drawn = {
        "Errors against time": scatter(report, "rtf", "Errors against time", lambda r: r.rtf, "RTF"),
        "Errors against size": scatter(
            report,
            "size",
            "Errors against size",
            lambda result: Estimate(result.bytes / 1e6) if result.bytes else None,
            "size in MB",
        ),
        "How long one utterance takes": latency(report),
        "Throughput": throughput(report),
        "What stress costs": stress_costs(report),
        "What kind of errors": error_types(report),
        "Where the time goes": stages(report),
    }
    return [(title, svg) for title, svg in drawn.items() if svg is not None]

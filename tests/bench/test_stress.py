"""What stress costs, measured with candidates of which it is known what it costs them."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from kdcompress.aliases import FloatArray
from kdcompress.audio.utterance import Reference
from kdcompress.bench.candidate import Recognition
from kdcompress.bench.process import IsolatedCandidate
from kdcompress.bench.run import run_bench
from kdcompress.bench.stress import read_stresses
from kdcompress.errors import BenchError
from kdcompress.report.measured import Facts
from kdcompress.report.pages.html.page import render_html
from kdcompress.report.pages.markdown import render_markdown
from kdcompress.report.record import Report, read_report
from kdcompress.report.scoring import score_report
from kdcompress.report.stress import StressLimits, judge_stress

NAMES = ("silence", "joined", "gsm", "nobody")


@dataclass
class Knowing:
    """Knows every utterance, but loses the last word of so many in silence, and prints letters in noise.

    It knows utterances by their length: what comes with silence around, or as it was.
    """

    name: str
    texts: dict[int, str]
    loses: int = 0
    prints: str = ""
    breaks_after: int | None = None
    bytes: int | None = 1000
    parameters: int | None = None
    batches: bool = False
    calls: int = 0

    def load(self) -> None: ...

    def facts(self) -> Facts:
        return Facts(runtime="script", provider="cpu", threads=1)

    def recognise(self, waveforms: list[FloatArray]) -> Recognition:
        samples = waveforms[0]
        self.calls += 1
        text = self.texts.get(len(samples))
        if len(samples) % 16_000 == 0:  # whole seconds have the clips in which nobody speaks
            text = self.prints
        elif text is None:
            text = self.texts.get(len(samples) - 32_000, self.prints)
            known = sorted(self.texts)
            if len(samples) - 32_000 in known[: self.loses]:
                text = " ".join(text.split()[:-1])
        elif self.breaks_after is not None and self.calls > self.breaks_after:
            raise RuntimeError("no such sound")
        return Recognition((text,), 1e-4, 1e-4, 1e-4)


@pytest.fixture
def report(isolated: Callable[..., IsolatedCandidate], references: list[Reference]) -> Report:
    texts = {round(16_000 * one.utterance.duration): one.text for one in references}
    lasting = [
        replace(one, utterance=replace(one.utterance, id=f"{one.utterance.id}/{copy}"))
        for copy in range(6)
        for one in references
        if texts[round(16_000 * one.utterance.duration)] == one.text
    ]
    # GSM comes fourth: after a warm-up, a timed pass with calls of its own, and silence.
    made = [
        Knowing("teacher", texts, loses=1),
        Knowing("firm", texts, loses=1, prints="a"),
        Knowing("fragile", texts, loses=9, breaks_after=3 * len(lasting)),
    ]
    candidates = [isolated(one, one.name) for one in made]
    return run_bench(candidates, lasting, repeats=1, stresses=NAMES)


def test_costs_are_counted_pair_by_pair(report: Report, tmp_path: Path) -> None:
    silence, joined, gsm, nobody = report.stresses
    words = sum(len((one.reference or "").split()) for one in report.utterances)
    costs = {name: silence.score(name) for name in ("teacher", "firm", "fragile")}
    assert all(score is not None and score.cost is not None for score in costs.values())
    points = {name: score.cost.value for name, score in costs.items() if score and score.cost}
    assert points["teacher"] == points["firm"] == pytest.approx(600 / words)
    assert points["fragile"] > 2 * points["teacher"]
    assert [id_ for group in joined.groups for id_ in group] == [one.id for one in report.utterances]
    assert len(joined.groups) == 1
    spoken = joined.score("firm")
    assert spoken is not None
    assert spoken.wer is not None
    assert spoken.wer.reference == words
    assert "fragile" not in gsm.hypotheses  # it failed there and there only
    fragile = report.result("fragile")
    assert fragile is not None
    assert any("failed under the stress gsm" in note for note in fragile.notes)
    assert [score.characters for score in nobody.scores] == [0, 20, 0]
    (tmp_path / "report.json").write_text(report.dump())
    assert read_report(tmp_path / "report.json").stresses == report.stresses
    assert score_report(report, "basic").stresses == report.stresses
    page, text = render_html(report, audio=False), render_markdown(report)
    assert "What stress costs" in page
    assert "| gsm " in text
    assert "20 characters" in text


def test_limits_are_broken_by_who_is_more_fragile_than_the_teacher(report: Report) -> None:
    verdict = judge_stress(report, StressLimits(1.5, 0))
    broken = {(finding.candidate, finding.measure) for finding in verdict.findings if finding.broken}
    assert broken == {("fragile", "stress"), ("fragile", "presence"), ("firm", "non-speech")}
    assert not any(f.broken for f in judge_stress(report, StressLimits(characters=20)).findings
                   if f.measure == "non-speech")  # fmt: skip
    plain = report.model_copy(update={"stresses": ()})
    assert "stresses" not in json.loads(plain.dump())
    with pytest.raises(BenchError, match="need --stress and a candidate beside the reference"):
        judge_stress(plain, StressLimits(1.5))


def test_names_are_checked_and_texts_are_needed(
    isolated: Callable[..., IsolatedCandidate], references: list[Reference]
) -> None:
    assert read_stresses("gsm, silence,gsm") == ("gsm", "silence")
    assert read_stresses("all")[-1] == "nobody"
    with pytest.raises(BenchError, match=r"no stress 'silense' .did you mean 'silence'"):
        read_stresses("silense")
    alone = [one.utterance for one in references]
    with pytest.raises(BenchError, match="give a manifest with texts"):
        run_bench([isolated(Knowing("x", {}))], alone, stresses=("gsm",))

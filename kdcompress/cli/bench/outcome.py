"""What `kdcompress bench` does with a report once there is one: gate, files, exit code."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from kdcompress.cli.bench.page import Pages

if TYPE_CHECKING:
    from kdcompress.report.record import Report
    from kdcompress.report.scored import Verdict

GATE_BROKEN = 3


@dataclass(frozen=True)
class Outcome:
    """Where a report goes, and what it is held against; the limits are the fields of `Limits`."""

    json_file: Path | None
    hypotheses: Path | None
    baseline: Path | None
    limits: tuple[float | None, ...]
    pages: Pages
    max_stress_ratio: float | None = None
    max_stress_characters: int | None = None

    @property
    def to_stdout(self) -> bool:
        """Whether the JSON takes the place of the table."""
        return str(self.json_file) == "-"

    def check(self) -> None:
        """Find out before minutes of measuring what would be refused after them."""
        from kdcompress.report.record import check_writable, read_report

        if self.baseline is not None:
            read_report(self.baseline)
        elif any(limit is not None for limit in self.limits):
            raise typer.BadParameter("a limit needs an earlier report to hold it against: give --baseline")
        for path in (self.json_file, self.hypotheses):
            if path is not None and str(path) != "-":
                check_writable(path)
        self.pages.check()

    def finish(self, report: "Report", *, times: bool) -> None:
        """Show and write a report, then end with the exit code that it deserves.

        Args:
            report: the gate's verdict is added to it.
            times: show them; otherwise what the texts alone say.

        Raises:
            typer.Exit: 3 where the gate is broken, else 1 where a candidate failed.
        """
        from kdcompress.cli.render import render_report
        from kdcompress.files import write_file
        from kdcompress.report.hypotheses import write_hypotheses

        if self.hypotheses is not None:
            write_hypotheses(report, self.hypotheses)
        if not self.to_stdout:
            render_report(report, times=times)
        try:
            verdict = self._judge(report)
            if verdict is not None:
                report = report.model_copy(update={"gate": verdict})
        finally:
            # A gate that cannot be judged does not take the measurement with it.
            if self.to_stdout:
                sys.stdout.write(report.dump())
            elif self.json_file is not None:
                write_file(self.json_file, report.dump())
            self.pages.write(report)
        if verdict is not None:
            self._show(verdict)
            if verdict.broken:
                raise typer.Exit(GATE_BROKEN)
        if report.failed:
            raise typer.Exit(1)

    def _judge(self, report: "Report") -> "Verdict | None":
        from kdcompress.report.gate import Limits, judge
        from kdcompress.report.record import read_report
        from kdcompress.report.scored import Verdict
        from kdcompress.report.stress import StressLimits, judge_stress

        found = []
        if self.baseline is not None:
            found.append(judge(report, read_report(self.baseline), Limits(*self.limits)))
        under_stress = StressLimits(self.max_stress_ratio, self.max_stress_characters)
        if under_stress != StressLimits():
            found.append(judge_stress(report, under_stress))
        if not found:
            return None
        findings = tuple(finding for verdict in found for finding in verdict.findings)
        notes = tuple(note for verdict in found for note in verdict.notes)
        return Verdict(broken=any(verdict.broken for verdict in found), findings=findings, notes=notes)

    def _show(self, verdict: "Verdict") -> None:
        from kdcompress.cli.render import console

        lines = [f"Against {self.baseline} [95 %]:" if self.baseline else "Under stress [95 %]:"]
        lines += [
            f"  {'BROKEN' if finding.broken else 'kept  ' if finding.limit is not None else '      '} "
            f"{finding.sentence}"
            for finding in verdict.findings
        ]
        lines += [f"  note: {note}" for note in verdict.notes]
        console(stderr=self.to_stdout).print("\n".join(lines), markup=False, soft_wrap=True)


def rescore_and_finish(path: Path, normalizer: str | None, reference: str | None, outcome: Outcome) -> None:
    """Score a file of hypotheses, or a report, again."""
    from kdcompress.cli.render import progress_bars
    from kdcompress.report.hypotheses import rescore

    outcome.check()
    with progress_bars() as bars:
        bars.add_task("scoring", total=None)
        report = rescore(path, normalizer, reference)
    outcome.finish(report, times=False)

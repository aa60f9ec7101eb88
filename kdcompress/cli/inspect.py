"""`kdcompress inspect`: what a teacher's output looks like, and what to choose for it."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kdcompress.cli.threads import choose_threads

if TYPE_CHECKING:
    from kdcompress.analysis.advice import Advice
    from kdcompress.analysis.inspection import Inspection


def inspect(
    teacher: Annotated[
        str,
        typer.Argument(metavar="TEACHER", help="A run, a hub id (org/model) or a Hugging Face directory."),
    ],
    audio: Annotated[
        Path,
        typer.Option(
            "--audio", help="Folder of audio (searched recursively), JSONL manifest, or another corpus."
        ),
    ],
    max_seconds: Annotated[
        float, typer.Option("--max-seconds", min=1, help="Of audio in the sample.")
    ] = 600.0,
    students: Annotated[
        bool,
        typer.Option(
            "--students", help="Also cut students out of it, down to a quarter, and say what they would cost."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of the table.")] = False,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE.png", help="Draw the distributions as well.")
    ] = None,
) -> None:
    """Look at a teacher's output over a sample of audio, and advise n, frame shift and cache.

    Three transcripts with their confidence, and a warning where the teacher seems not to know such audio.
    Blank share, width of spikes, distance between labels, frames that symmetric selection takes by n, labels
    that would collide at longer frame shifts, and the size of a cache per hour for each storage.

    \b
    Examples:
      kdcompress inspect facebook/wav2vec2-base-960h --audio calls/
      kdcompress inspect runs/teacher --audio calls/ --max-seconds 120 --plot teacher.png
      kdcompress inspect runs/teacher --audio calls/ --json > teacher.json
      kdcompress inspect runs/teacher --audio calls/ --students
    """
    choose_threads()
    from kdcompress.analysis.advice import advise
    from kdcompress.analysis.inspection import inspect_teacher
    from kdcompress.cli.render import progress_bars, show_note
    from kdcompress.teachers.open import open_teacher, resolve_teacher

    config = resolve_teacher(teacher)
    opened = open_teacher(config)
    if note := getattr(opened, "note", None):
        show_note(note)
    with progress_bars() as bars:
        task = bars.add_task("running the teacher", total=None)
        seen = inspect_teacher(
            opened,
            audio,
            max_seconds,
            lambda done, total: bars.update(task, completed=done, total=total),
        )
    advice = advise(seen)
    found = None
    if students:
        from kdcompress.analysis.shrinking import prospects
        from kdcompress.cli.progress import DistillProgress

        with DistillProgress() as progress:
            found = prospects(config, audio, progress.stage)
    if plot is not None:
        from kdcompress.analysis.inspection_plot import plot_inspection

        plot_inspection(seen, advice, teacher, plot)
    if as_json:
        sizes = {name: round(size, 3) for name, size in seen.mb_per_hour(advice.n_frames).items()}
        data = {
            "teacher": teacher,
            "fingerprint": opened.fingerprint,
            **seen.to_json(),
            "cache_mb_per_hour": sizes,
            "advice": advice.to_json(),
            **({} if found is None else {"students": found.to_json()["tried"]}),
        }
        sys.stdout.write(json.dumps(data, indent=2) + "\n")
    else:
        _render(seen, advice)
        if found is not None:
            from kdcompress.cli.render import console
            from kdcompress.cli.shrink import show_frontier

            console().print("\nstudents cut out of it, before any training (kdcompress shrink):")
            show_frontier(found, chosen="")


def _render(seen: "Inspection", advice: "Advice") -> None:
    from rich.table import Table

    from kdcompress.cli.render import console

    figures = seen.to_json()
    shift = figures["frame_shift_ms"]
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column()
    rows = {
        "sample": f"{seen.utterances} utterances, {figures['seconds']:.0f} s, {shift:g} ms frames, "
        f"{seen.tokens} tokens",
        "blank": f"{figures['blank_share']:.1%} of the frames",
        "unsure": f"{figures['low_confidence_share']:.1%} of the frames have no token above one half",
        "longest silence": f"{figures['longest_silence_seconds']:.2f} s",
        "spike width": _histogram(seen.spike_widths, shift),
        "label to label": _histogram(seen.distances, shift),
        "selected": "  ".join(f"n={n}: {share:.0%}" for n, share in enumerate(seen.selected_shares)),
        "labels colliding": "  ".join(f"{s} ms: {share:.1%}" for s, share in seen.collisions.items()),
        "too short for CTC": "  ".join(f"{s} ms: {seen.too_short[s]}" for s in seen.student_shifts),
        "cache, MB per hour": "  ".join(
            f"{name}: {size:.1f}" for name, size in seen.mb_per_hour(advice.n_frames).items()
        ),
    }
    for name, value in rows.items():
        table.add_row(name, value)
    screen = console()
    screen.print(table)
    screen.print()
    for sample in seen.samples:
        text = sample.text or "(no text)"
        line = f"{sample.id} ({sample.confidence:.0%} confident): {text}"
        screen.print(line, markup=False, soft_wrap=True)
    screen.print()
    if advice.warning:
        screen.print(f"warning: {advice.warning}", markup=False, soft_wrap=True)
    storage = f"--frames {advice.frames}" + (f" --top-k {advice.top_k}" if advice.top_k else "")
    for choice, reason in (
        (f"objective.selection.ms={advice.n_ms}", advice.n_reason),
        (f"student.frame_shift_ms={advice.frame_shift_ms}", advice.frame_shift_reason),
        (f"kdcompress cache {storage}", advice.storage_reason),
    ):
        screen.print(f"{choice}: {reason}", markup=False, soft_wrap=True)


def _histogram(counts: "dict[int, int]", shift_ms: float) -> str:
    """Return the quartiles, or that there is nothing."""
    values = sorted(counts.items())
    total = sum(counts.values())
    if not total:
        return "none"
    quartiles = []
    for share in (0.1, 0.5, 0.9):
        reached = 0
        for value, count in values:
            reached += count
            if reached >= share * total:
                quartiles.append(value)
                break
    ten, half, ninety = (f"{value} ({value * shift_ms:.0f} ms)" for value in quartiles)
    return f"median {half}, 10 % at most {ten}, 90 % at most {ninety} frames"

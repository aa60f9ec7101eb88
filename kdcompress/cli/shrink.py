"""`kdcompress shrink`: a smaller student cut out of a teacher, without training."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kdcompress.cli.threads import choose_threads

if TYPE_CHECKING:
    from kdcompress.students.pruning.search import Frontier


def shrink(
    teacher: Annotated[
        str,
        typer.Argument(
            metavar="TEACHER",
            help="A hub id (org/model), a Hugging Face directory (wav2vec2, HuBERT, WavLM, wav2vec2-BERT, "
            "Parakeet-CTC) or a run.",
        ),
    ],
    audio: Annotated[
        Path,
        typer.Option(
            "--audio", help="Folder of audio (searched recursively), JSONL manifest, or another corpus."
        ),
    ],
    budget: Annotated[
        str,
        typer.Option(
            "--budget",
            help="Bytes of weights in float32 (30MB), a share of the teacher's (0.5x), or of its time on one "
            "thread of this machine (rtf:0.5x).",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Directory to write; export takes it.")],
) -> None:
    """Cut a teacher down to a budget and refit what is left, without training and without a transcript.

    Heads, feed-forward units, convolution channels and layers go where they cost the least divergence from
    the teacher on the audio, of which eight minutes are read. The way there is printed, one student a line,
    and kept as frontier.json and frontier.png. Bytes are counted, so the same student is found again; time is
    measured. To train it further: kdcompress distill … --student OUT.

    \b
    Examples:
      kdcompress shrink facebook/wav2vec2-base-960h --audio calls/ --budget 0.5x --out runs/half
      kdcompress shrink runs/teacher --audio calls/ --budget 3MB --out runs/three
      kdcompress shrink models/parakeet --audio calls/ --budget rtf:0.5x --out runs/twice-as-fast
      kdcompress export runs/half --out bundles/half --quantize int8-dynamic
    """
    choose_threads()
    from kdcompress.analysis.shrinking import shrink as run_shrink
    from kdcompress.cli.progress import DistillProgress
    from kdcompress.teachers.open import resolve_teacher

    with DistillProgress() as progress:
        found = run_shrink(resolve_teacher(teacher), audio, budget, out, progress)
    show_frontier(found)
    typer.echo(f"next: kdcompress export {out} --out bundles/{out.name} --quantize int8-dynamic", err=True)


def show_frontier(found: "Frontier", chosen: str = "chosen") -> None:
    """Print the students of a frontier as a table.

    Args:
        chosen: what the last one is called.
    """
    from rich.table import Table

    from kdcompress.cli.render import console

    table = Table(box=None, pad_edge=False)
    for name in ("", "MB", "of teacher", "time", "layers", "KL", "words changed"):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    tried = found.to_json()["tried"]
    for index, entry in enumerate(tried):
        name = "teacher" if index == 0 else chosen if index == len(tried) - 1 else ""
        figures = (
            f"{entry['bytes'] / 1e6:.2f}",
            f"{entry['share']:.3f}×",
            f"{entry['time']['median']:.2f}×",
            str(len(entry["layers"])),
            f"{entry['kl']:.4f}",
            f"{entry['disagreement']:.1%}",
        )
        table.add_row(name, *figures)
    console().print(table)

"""`kdcompress distill`: parse, train, render."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from kdcompress.cli.threads import choose_threads
from kdcompress.config.deploy import PRESETS

if TYPE_CHECKING:
    from kdcompress.config.recipe import Recipe

PACKED = tuple(name for name, preset in PRESETS.items() if preset.method == "packed")


def distill(
    recipe: Annotated[
        str | None, typer.Argument(help="A recipe file, or the name of one (see: kdcompress recipes list).")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Run directory to write.")] = Path("runs/distill"),
    teacher: Annotated[
        str | None,
        typer.Option(
            "--teacher",
            help="A run, a bundle or ONNX file, a hub id (org/model) or local Hugging Face directory, or "
            "torchaudio:PIPELINE.",
        ),
    ] = None,
    audio: Annotated[
        Path | None,
        typer.Option(
            "--audio", help="Folder of audio (searched recursively), JSONL manifest, or another corpus."
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option("--cache", help="Posteriors written by kdcompress cache, instead of a teacher."),
    ] = None,
    preset: Annotated[str | None, typer.Option("--preset", help="Student size: 0.2M … 30M.")] = None,
    student: Annotated[
        str | None,
        typer.Option(
            "--student",
            metavar="teacher|DIR",
            help="Make the student of the teacher's own layers, or of those of another model or run.",
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget",
            help="What such a student may cost: 30MB, 0.25x of its source, rtf:0.5x of its time; what "
            "says least on the audio is cut. Implies --student teacher.",
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override any value of the recipe; repeatable."),
    ] = None,
    quantize_aware: Annotated[
        str | None,
        typer.Option(
            "--quantize-aware",
            metavar=f"[{'|'.join(PACKED)}]",
            help="Train the student to be exported with this preset of --quantize; begin with a trained run: "
            "--set training.start_from=RUN.",
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    accept_changes: Annotated[
        bool,
        typer.Option(
            "--accept-changes",
            help="With --resume: go on though audio, transcripts or teacher have changed meanwhile.",
        ),
    ] = False,
    auto_resume: Annotated[
        bool,
        typer.Option(
            "--auto-resume",
            help="Go on with the run in --out if there is one, else begin it, as queued jobs do.",
        ),
    ] = False,
) -> None:
    """Train a small CTC student to imitate a teacher on untranscribed audio.

    \b
    Examples:
      kdcompress distill --teacher facebook/hubert-large-ls960-ft --audio calls/ --out runs/calls
      kdcompress distill --teacher runs/big --audio calls/ --out runs/small --preset 1.2M
      kdcompress distill --teacher models/wav2vec2 --audio calls/ --budget 0.25x --out runs/small
      kdcompress distill an4 --audio an4/audio/train --teacher runs/an4-teacher --out runs/an4
      kdcompress distill --cache cache/calls --out runs/calls
      kdcompress distill --audio transcribed.jsonl --set objective.kd_weight=0 --out runs/teacher
      kdcompress distill an4 --out runs/try --set training.steps=200 --set objective.selection.ms=40
      kdcompress distill an4 --out runs/an4-int2 --quantize-aware int2 --set training.start_from=runs/an4
      kdcompress distill --out runs/calls --resume
      torchrun --nproc_per_node 4 -m kdcompress distill --teacher runs/big --audio calls/ --out runs/calls

    No transcript is read unless objective.kd_weight is below 1. Ctrl-C saves, as do SIGTERM and SIGUSR1
    (which schedulers send); --resume goes on exactly, with as many processes.
    """
    choose_threads()
    if resume and auto_resume:
        raise typer.BadParameter("stands for --resume: give one of them", param_hint="--auto-resume")
    asked: Recipe | None = None
    if not resume:
        asked = read_recipe(
            recipe, teacher, audio, cache, preset, set_ or [], quantize_aware, student, budget
        )
    elif any((recipe, teacher, audio, cache, preset, set_, quantize_aware, student, budget)):
        from kdcompress.errors import ConfigError

        raise ConfigError("--resume goes on with the run's own recipe: give it nothing but --out")
    if accept_changes and not resume:
        raise typer.BadParameter("goes with --resume only", param_hint="--accept-changes")

    from kdcompress.cli.progress import DistillProgress, leads
    from kdcompress.distill.loop import distill as run_distill

    with DistillProgress() as progress:
        going_on: Literal["auto"] | bool = "auto" if auto_resume else resume
        result = run_distill(asked, out, progress, resume=going_on, accept_changes=accept_changes)
    if not leads():
        return
    if not result.finished:
        typer.echo(
            f"stopped at step {result.step}, saved; go on with: kdcompress distill --out {out} --resume",
            err=True,
        )
        raise typer.Exit(130)
    typer.echo(f"{out}: {result.step} steps" + _figures(result.best))
    quantize = quantize_aware or "int8-dynamic"
    typer.echo(f"next: kdcompress export {out} --out bundles/{out.name} --quantize {quantize}", err=True)


def read_recipe(
    name: str | None,
    teacher: str | None,
    audio: Path | None,
    cache: Path | None = None,
    preset: str | None = None,
    sets: Sequence[str] = (),
    quantize_aware: str | None = None,
    student: str | None = None,
    budget: str | None = None,
) -> "Recipe":
    """Lay the flags over the named recipe (or over the defaults; over a cache's own data settings)."""
    from kdcompress.config.recipe import make_recipe, merge, read_layers
    from kdcompress.errors import ConfigError
    from kdcompress.resources import recipe_path

    if cache is not None and teacher is not None:
        raise ConfigError("--cache stands for the teacher: leave --teacher out")
    layers: dict[str, Any] = {} if name is None else read_layers(recipe_path(name))
    flags: dict[str, Any] = {}
    if teacher is not None:
        from kdcompress.teachers.open import resolve_teacher

        flags["teacher"] = resolve_teacher(teacher).model_dump(mode="json")
    if cache is not None:
        flags["teacher"] = {"kind": "cache", "path": str(cache.expanduser().resolve())}
        from kdcompress.distill.posteriors.cache import read_record

        record = read_record(cache.expanduser())
        # Those of a cache from before there was a default are none.
        clips = {"data": {"noise_share": record.data.noise_share}}
        layers = merge(clips, layers)
        if name is None:
            layers = {"seed": record.seed, "data": record.data.model_dump(mode="json")}
    if audio is not None:
        flags["data"] = {"audio": str(audio.expanduser().resolve())}
    if preset is not None:
        flags["student"] = {"preset": preset}
    if student is not None or budget is not None:
        if preset is not None:
            raise ConfigError("--preset is the size of a Conformer, --student and --budget make another")
        source = student or "teacher"
        found = Path(source).expanduser()
        if source != "teacher" and found.exists():
            source = str(found.resolve())
        flags["student"] = {"kind": "pretrained", "source": source, "budget": budget}
    if quantize_aware is not None:
        if quantize_aware not in PACKED:
            raise typer.BadParameter(
                f"{quantize_aware!r} is not one of {', '.join(PACKED)}", param_hint="--quantize-aware"
            )
        width = PRESETS[quantize_aware].width
        # An average of the weights would be of integers no more.
        bits = int(width) if width.isdigit() else width
        flags["training"] = {"quantize": {"bits": bits}, "ema_decay": None}
    made = make_recipe(merge(layers, flags), sets, name or "command line")
    untaught = made.teacher is None and made.objective.kd_weight > 0
    if name is None and cache is None and (untaught or made.data.audio is None):
        raise ConfigError(
            "name a recipe, or give both --teacher and --audio; without a teacher, --audio MANIFEST.jsonl "
            "and --set objective.kd_weight=0 train on transcripts; see: kdcompress distill --help"
        )
    return made


def _figures(best: Any) -> str:
    if best is None:
        return ""
    named = best.to_json()
    labels = {"wer_against_teacher": "WER against the teacher", "wer": "WER", "kl": "KL"}
    if best.unit == "tokens":
        labels = {"ter_against_teacher": "token error rate against the teacher"} | labels
    parts = [
        f"{label} {named[key]:.4g}{' %' if key != 'kl' else ''}"
        for key, label in labels.items()
        if key in named
    ]
    return f"; best checkpoint on held-out audio: {', '.join(parts)}"

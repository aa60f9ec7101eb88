"""`kdcompress cache`: run the teacher once, and keep its posteriors."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from kdcompress.cli.threads import choose_threads


def cache(
    recipe: Annotated[
        str | None, typer.Argument(help="A recipe file, or the name of one (see: kdcompress recipes list).")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Directory of the cache.")] = Path("cache/teacher"),
    teacher: Annotated[
        str | None,
        typer.Option("--teacher", help="A run, a hub id (org/model), or a local Hugging Face directory."),
    ] = None,
    audio: Annotated[
        Path | None,
        typer.Option(
            "--audio", help="Folder of audio (searched recursively), JSONL manifest, or another corpus."
        ),
    ] = None,
    frames: Annotated[
        Literal["all", "selected"],
        typer.Option(
            "--frames", help="Keep all frames, or those of objective.selection only (then n is fixed)."
        ),
    ] = "all",
    top_k: Annotated[
        int | None,
        typer.Option(
            "--top-k", min=2, help="Keep K tokens of a frame and the mass of the rest, not all tokens."
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard",
            metavar="I/N",
            help="Label the Ith of N parts of the shards, as one task of a job array; the last one sums up.",
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override any value of the recipe; repeatable."),
    ] = None,
) -> None:
    """Write down a teacher's posteriors of training and held-out audio, at each of data.speed.

    Training from the cache gives the losses of training beside the teacher, and never loads it. Size and time
    are printed before the work begins. After a kill, the same command goes on with what is missing.

    The same command may run any number of times at once, on all machines that see the folder: each shard is
    labelled by one of them, and by another if that one is killed. The last one makes the cache ready.

    \b
    Examples:
      kdcompress cache --teacher facebook/hubert-large-ls960-ft --audio calls/ --out cache/calls
      kdcompress cache an4 --teacher runs/an4-teacher --audio an4/audio/train --out cache/an4
      kdcompress cache --teacher nvidia/parakeet-ctc-0.6b --audio calls/ --top-k 16 --out cache/calls
      kdcompress cache an4 --out cache/an4 --shard $SLURM_ARRAY_TASK_ID/16
      torchrun --nproc_per_node 8 -m kdcompress cache an4 --out cache/an4
      kdcompress distill --cache cache/calls --out runs/calls
    """
    choose_threads()
    from kdcompress.cli.distill import read_recipe
    from kdcompress.cli.progress import DistillProgress, leads
    from kdcompress.config.cache import CacheStorage
    from kdcompress.distill.cache_writer import write_cache

    share = None if shard is None else _share(shard)
    asked = read_recipe(recipe, teacher, audio, sets=set_ or [])
    storage = CacheStorage(frames=frames, top_k=top_k)
    try:
        with DistillProgress() as progress:
            done = write_cache(asked, out, storage, progress, share=share)
    except KeyboardInterrupt:
        typer.echo("stopped; finished shards are kept: the same command goes on", err=True)
        raise typer.Exit(130) from None
    if not leads():
        return
    if done.missing:
        typer.echo(
            f"{out}: labelled {done.labelled} of {done.shards} shards, {done.missing} are not finished"
        )
        typer.echo("others have them, or nobody: the last one, or this command once more, sums up", err=True)
        return
    reused = f", {done.reused} of them as they were" if done.reused else ""
    typer.echo(f"{out}: {done.bytes / 1e6:.1f} MB in {done.shards} shards{reused}")
    typer.echo(f"next: kdcompress distill --cache {out} --out runs/{out.name}", err=True)


def _share(text: str) -> tuple[int, int]:
    """Read `I/N`."""
    first, _, every = text.partition("/")
    if not (first.isdecimal() and every.isdecimal() and 1 <= int(first) <= int(every)):
        raise typer.BadParameter(f"{text!r} is not I/N with I from 1 to N, as 3/16 is", param_hint="--shard")
    return int(first), int(every)

"""`kdcompress pack`: decode a corpus once, into shards that training opens without looking at each file."""

from pathlib import Path
from typing import Annotated

import typer


def pack(
    audio: Annotated[Path, typer.Argument(help="Folder of audio, manifest, or another corpus.")],
    out: Annotated[Path, typer.Option("--out", help="Directory of the packed corpus.")],
    texts: Annotated[
        bool, typer.Option("--texts", help="Pack the transcripts too; all must have one.")
    ] = False,
    shard_size: Annotated[int, typer.Option("--shard-size", min=1, help="Utterances per shard.")] = 500,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Processes; one per free core unless given.")
    ] = None,
) -> None:
    """Write a corpus as 16 kHz FLAC in tars (lhotse Shar), with an index of durations, ids and digests.

    What cannot be decoded is left out, and named in skipped.jsonl. After a kill, the same command goes on
    with what is missing. Name the directory wherever audio is asked for.

    \b
    Examples:
      kdcompress pack recordings/ --out packed/recordings
      kdcompress distill --teacher facebook/wav2vec2-base-960h --audio packed/recordings --out runs/mine
    """
    from kdcompress.audio.corpus.pack import pack as write
    from kdcompress.cli.progress import DistillProgress
    from kdcompress.cores import available_cores

    try:
        with DistillProgress() as progress:
            done = write(
                audio,
                out,
                with_text=texts,
                shard_size=shard_size,
                workers=workers or available_cores(),
                on_progress=lambda done, total: progress.stage("Packing", done, total),
            )
    except KeyboardInterrupt:
        typer.echo("stopped; finished shards are kept: the same command goes on", err=True)
        raise typer.Exit(130) from None
    reused = f", {done.reused} of them as they were" if done.reused else ""
    skipped = f"; {done.skipped} left out, see {out / 'skipped.jsonl'}" if done.skipped else ""
    hours = f"{done.utterances} utterances, {done.seconds / 3600:.2f} h"
    typer.echo(f"{out}: {hours} in {done.shards} shards{reused}{skipped}")

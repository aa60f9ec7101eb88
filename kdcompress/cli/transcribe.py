"""`kdcompress transcribe`: audio files in, text out."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from kdcompress.runtime.transcript import Transcript


def transcribe(
    bundle: Annotated[
        Path, typer.Argument(metavar="BUNDLE", help="A directory written by kdcompress export.")
    ],
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Audio: wav, flac, mp3, ogg, opus.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object per file, with times of words and tokens.")
    ] = False,
    variant: Annotated[
        str | None, typer.Option(help="fp32, int8-dynamic, …; auto or int8-dynamic where the bundle has it.")
    ] = None,
    provider: Annotated[Literal["cpu", "cuda"], typer.Option(help="Where the model runs.")] = "cpu",
    threads: Annotated[
        int | None, typer.Option(min=1, help="For the model; all usable cores unless given.")
    ] = None,
) -> None:
    """Turn audio files into text.

    Prints the text of one file, or path, tab and text of each of several. With --json each line is an
    object with audio_filepath, duration, text, words and tokens (times in seconds): a file of such lines is
    a manifest. A file that cannot be used is an error line on standard error; the others are still
    transcribed, and the exit code is 1.

    \b
    Examples:
      kdcompress transcribe bundles/mine call.wav
      kdcompress transcribe bundles/mine recordings/*.flac > texts.tsv
      kdcompress transcribe bundles/mine call.mp3 --json --variant fp32
    """
    from kdcompress.cli.render import progress_bars, show_error
    from kdcompress.errors import AudioError, NumericsError
    from kdcompress.runtime.recognizer import Recognizer

    recognizer = Recognizer(bundle, variant, provider, threads)
    unusable = 0
    with progress_bars() as bars:
        # On a terminal the lines themselves show how far it is.
        task = bars.add_task("transcribing", total=len(files), visible=not sys.stdout.isatty())
        for file in files:
            try:
                transcript = recognizer.transcribe(file)
            except (AudioError, NumericsError) as error:
                unusable += 1
                show_error(str(error) if str(file) in str(error) else f"{file}: {error}")
            else:
                sys.stdout.write(_line(file, transcript, as_json=as_json, alone=len(files) == 1))
                sys.stdout.flush()  # a reader downstream need not wait for the last file
            bars.advance(task)
    if unusable:
        raise typer.Exit(1)


def _line(file: Path, transcript: "Transcript", *, as_json: bool, alone: bool) -> str:
    if as_json:
        data = {"audio_filepath": str(file), **transcript.to_json()}
        return json.dumps(data, ensure_ascii=False) + "\n"
    return f"{transcript.text}\n" if alone else f"{file}\t{transcript.text}\n"

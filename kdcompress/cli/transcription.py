"""What `kdcompress transcribe` does once its options are read (which takes typer, and this does not)."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from kdcompress.runtime.recognizer import Decoder

Format = Literal["text", "json", "jsonl", "srt", "vtt"]
SUFFIXES: dict[Format, str] = {"text": "txt", "json": "json", "jsonl": "jsonl", "srt": "srt", "vtt": "vtt"}


def write_transcripts(
    bundle: Path,
    files: Sequence[Path],
    chosen: Format = "text",
    targets: Mapping[Path, Path] | None = None,
    *,
    variant: str | None = None,
    provider: Literal["cpu", "cuda"] = "cpu",
    threads: int | None = None,
    batch_seconds: float = 0.0,
    cutting: tuple[float, float, float] = (30.0, 4.0, 0.8),
    decoder: "Decoder | None" = None,
) -> int:
    """Transcribe files to standard output, or each to a file of its own; returns the exit code.

    Args:
        bundle: its directory.
        files: audio.
        chosen: what is written.
        targets: where each file's result goes; None prints them.
        variant: as for `Recognizer`, like the next two.
        provider: where the model runs.
        threads: for the model.
        batch_seconds: as for `transcribe_files`.
        cutting: longest chunk, overlap and pause [s], as for `Chunking`.
        decoder: None is greedy.
    """
    from kdcompress.files import write_file
    from kdcompress.runtime.batches import transcribe_files
    from kdcompress.runtime.chunks import Chunking
    from kdcompress.runtime.formats import JsonArray, rendered
    from kdcompress.runtime.recognizer import Recognizer
    from kdcompress.runtime.transcript import Transcript
    from kdcompress.text.decode import greedy_pieces

    recognizer = Recognizer(
        bundle, variant, provider, threads, decoder=decoder or greedy_pieces, chunking=Chunking(*cutting)
    )
    unusable = 0
    array = JsonArray(sys.stdout)
    # On a terminal the lines of several files show how far it is.
    with _progress(files, hidden=len(files) > 1 and targets is None and sys.stdout.isatty()) as progress:
        for file, outcome in transcribe_files(recognizer, files, batch_seconds, progress):
            if not isinstance(outcome, Transcript):
                from kdcompress.cli.render import show_error

                unusable += 1
                show_error(str(outcome) if str(file) in str(outcome) else f"{file}: {outcome}")
            elif targets is not None:
                write_file(targets[file], rendered(chosen, file, outcome, alone=True))
            elif chosen == "json":
                array.add(file, outcome)
            else:
                sys.stdout.write(rendered(chosen, file, outcome, alone=len(files) == 1))
                sys.stdout.flush()  # a reader downstream need not wait for the last file
    if chosen == "json" and targets is None:
        array.close()
    return 1 if unusable else 0


@contextmanager
def _progress(files: Sequence[Path], hidden: bool) -> Iterator[Callable[[float], None] | None]:
    """Give what is called with the seconds that were heard: a bar moves, where there is a terminal."""
    if hidden or not sys.stderr.isatty():
        yield None
        return
    from kdcompress.cli.render import progress_bars

    with progress_bars() as bars:
        task = bars.add_task("transcribing", total=sum(map(_duration, files)))
        yield lambda seconds: bars.advance(task, seconds)


def _duration(file: Path) -> float:
    from kdcompress.audio.decode import probe
    from kdcompress.errors import AudioError

    try:
        return probe(file).duration
    except AudioError:  # told when its turn comes
        return 0.0

"""What `kdcompress transcribe` does once its options are read (which takes typer, and this does not)."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from kdcompress.audio.sources import Source
    from kdcompress.runtime.recognizer import Decoder, Recognizer

Format = Literal["text", "json", "jsonl", "srt", "vtt"]
_MANY = 500  # recordings
_SMALL = 100_000_000  # bytes of a graph
SUFFIXES: dict[Format, str] = {"text": "txt", "json": "json", "jsonl": "jsonl", "srt": "srt", "vtt": "vtt"}


def write_transcripts(
    bundle: Path,
    sources: "Sequence[Source]",
    chosen: Format = "text",
    out: Path | None = None,
    *,
    variant: str | None = None,
    provider: Literal["cpu", "cuda"] = "cpu",
    threads: int | None = None,
    jobs: int | None = None,
    batch_seconds: float = 0.0,
    split: bool = False,
    cutting: tuple[float, float, float] = (30.0, 4.0, 0.8),
    decoder: "Decoder | None" = None,
) -> int:
    """Transcribe recordings to standard output, or each to a file of its own; returns the exit code.

    Args:
        bundle: its directory.
        sources: what to transcribe.
        chosen: what is written.
        out: folder of the files; None prints.
        variant: as for `Recognizer`, like the next.
        provider: where the model runs.
        threads: for the model; None is one where several recordings are read at a time, else every core.
        jobs: recordings at a time; None takes as many as keep the cores busy.
        batch_seconds: as for `transcribe_sources`, like the next.
        split: channels apart.
        cutting: longest chunk, overlap and pause [s], as for `Chunking`.
        decoder: None is greedy.
    """
    from kdcompress.files import write_file
    from kdcompress.runtime.batches import transcribe_sources
    from kdcompress.runtime.chunks import Chunking
    from kdcompress.runtime.formats import JsonArray, label, rendered
    from kdcompress.runtime.recognizer import Recognizer
    from kdcompress.runtime.transcript import Transcript
    from kdcompress.text.decode import greedy_pieces

    single = len(sources) == 1 or batch_seconds > 0 or provider != "cpu" or decoder is not None
    jobs, threads = _parallel(1 if single and jobs is None else jobs, threads, len(sources))
    recognizer = Recognizer(
        bundle,
        variant,
        provider,
        threads,
        decoder=_one_at_a_time(decoder) if decoder and jobs > 1 else decoder or greedy_pieces,
        chunking=Chunking(*cutting),
    )
    for note in getattr(decoder, "notes", lambda _: [])(recognizer.bundle.vocabulary):
        from kdcompress.cli.render import show_note

        show_note(note)
    again = None
    if jobs > 1 and decoder is None and provider == "cpu" and _pays_processes(recognizer, sources):
        chosen_so = (variant, provider, threads)
        again = partial(Recognizer, recognizer.bundle, *chosen_so, chunking=Chunking(*cutting))
    unusable = 0
    alone = len(sources) == 1 and not split
    array = JsonArray(sys.stdout)
    # On a terminal the lines of several files show how far it is.
    hidden = len(sources) > 1 and out is None and sys.stdout.isatty()
    with _progress(sources, hidden) as (read, done):
        results = transcribe_sources(
            recognizer,
            sources,
            jobs=jobs,
            batch_seconds=batch_seconds,
            split=split,
            progress=read,
            again=again,
        )
        for source, outcome in results:
            done()
            if not isinstance(outcome, Transcript):
                from kdcompress.cli.render import show_error

                unusable += 1
                file = label(source.stretch)
                named = str(source.stretch.audio) in str(outcome)
                show_error(str(outcome) if named else f"{file}: {outcome}")
            elif out is not None:
                target = out / f"{source.name}.{SUFFIXES[chosen]}"
                target.parent.mkdir(parents=True, exist_ok=True)
                write_file(target, rendered(chosen, source.stretch, outcome, alone=True))
            elif chosen == "json":
                array.add(source.stretch, outcome)
            else:
                text = rendered(chosen, source.stretch, outcome, alone=alone)
                if sys.stdout.isatty():
                    from kdcompress.cli.screen import harmless

                    text = harmless(text)
                sys.stdout.write(text)
                sys.stdout.flush()  # a reader downstream need not wait for the last file
    if chosen == "json" and out is None:
        array.close()
    return 1 if unusable else 0


def _parallel(jobs: int | None, threads: int | None, recordings: int) -> tuple[int, int | None]:
    """Return recordings at a time and threads for each; one thread each does most with the same cores."""
    from kdcompress.cores import available_cores

    if jobs is None:
        jobs = max(1, min(available_cores() // (threads or 1), recordings))
    return jobs, 1 if threads is None and jobs > 1 else threads


def _pays_processes(recognizer: "Recognizer", sources: "Sequence[Source]") -> bool:
    """Tell whether a process for each job does more than a thread.

    It takes half a second to begin, and a copy of the model. Pipes that were opened for this process are
    nobody else's.
    """
    size = recognizer.bundle.path(recognizer.variant).stat().st_size
    here = any(str(source.stretch.audio).startswith(("-", "/dev/")) for source in sources)
    return len(sources) >= _MANY and size <= _SMALL and not here


def _one_at_a_time(decoder: "Decoder") -> "Decoder":
    """Let no two threads into a beam search: what it keeps between two steps is not theirs to share."""
    import threading

    lock = threading.Lock()

    def locked(*arguments: object) -> object:
        with lock:
            return decoder(*arguments)  # type: ignore[arg-type]

    return locked  # type: ignore[return-value]


@contextmanager
def _progress(
    sources: "Sequence[Source]", hidden: bool
) -> Iterator[tuple[Callable[[float], None] | None, Callable[[], None]]]:
    """Give what is called with the seconds that were read, and after each recording: a bar moves."""
    if hidden or not sys.stderr.isatty():
        yield None, lambda: None
        return
    from kdcompress.cli.render import progress_bars

    with progress_bars() as bars:
        if len(sources) > 1:
            task = bars.add_task(f"transcribing {len(sources):,} recordings", total=len(sources))
            yield None, lambda: bars.advance(task)
        else:
            task = bars.add_task("transcribing", total=_duration(sources[0]))
            yield (lambda seconds: bars.advance(task, seconds)), lambda: None


def _duration(source: "Source") -> float | None:
    from kdcompress.audio.decode import probe
    from kdcompress.errors import AudioError

    try:
        return source.stretch.duration or probe(source.stretch.audio).duration
    except AudioError:  # a pipe, or told when its turn comes
        return None

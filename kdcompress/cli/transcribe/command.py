"""`kdcompress transcribe`: audio files in, text out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from kdcompress.cli.transcribe.live import write_live
from kdcompress.cli.transcribe.recordings import SUFFIXES, Format, write_transcripts

if TYPE_CHECKING:
    from kdcompress.audio.sources import Source
    from kdcompress.runtime.recognizer import Decoder


def transcribe(
    bundle: Annotated[
        Path, typer.Argument(metavar="BUNDLE", help="A directory written by kdcompress export.")
    ],
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="AUDIO…", help="Files, folders (searched), manifests (.jsonl), or - for standard input."
        ),
    ] = None,
    files_from: Annotated[
        Path | None,
        typer.Option("--files-from", metavar="FILE", help="A list of paths; - reads it from stdin."),
    ] = None,
    format_: Annotated[Format, typer.Option("--format", help="What is printed.")] = "text",
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format jsonl.")] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write one file per recording there, print nothing.")
    ] = None,
    variant: Annotated[
        str | None, typer.Option(help="fp32, int8-dynamic, …; auto or int8-dynamic where the bundle has it.")
    ] = None,
    provider: Annotated[Literal["cpu", "cuda"], typer.Option(help="Where the model runs.")] = "cpu",
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, help="For the model; one with several jobs, else all usable cores, unless given."
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Recordings at a time; as many as keep the cores busy unless given."),
    ] = None,
    channels: Annotated[
        str, typer.Option(metavar="mix|split|N", help="Average channels, each by itself, or one, from 0.")
    ] = "mix",
    batch_seconds: Annotated[
        float,
        typer.Option(min=0, help="Files of like length in one run, up to so much audio; 0: one by one."),
    ] = 0.0,
    chunk_seconds: Annotated[
        float, typer.Option(help="What is longer goes through the model in chunks of at most this.")
    ] = 30.0,
    overlap_seconds: Annotated[float, typer.Option(help="Of chunks that no pause separates.")] = 4.0,
    pause_seconds: Annotated[float, typer.Option(help="Silence that ends a chunk; 0: overlap always.")] = 0.8,
    beam: Annotated[
        int, typer.Option(min=0, help="Prefixes of a beam search; 0: greedy, or 16 where words are weighed.")
    ] = 0,
    lm: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A KenLM model of words, ARPA or binary.")
    ] = None,
    lm_words: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The words of a binary model, one a line.")
    ] = None,
    lm_weight: Annotated[float, typer.Option(help="Of the language model's log-probability.")] = 0.5,
    word_bonus: Annotated[
        float | None, typer.Option(help="For each word [nats]; 1 with a language model unless given.")
    ] = None,
    hotword: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="A word or phrase to listen for; repeat for more."),
    ] = None,
    hotword_weight: Annotated[float, typer.Option(help="For each hotword said [nats].")] = 5.0,
    live: Annotated[
        bool, typer.Option("--live", help="Text while somebody speaks; of a bundle of the profile streaming.")
    ] = False,
    microphone: Annotated[
        bool, typer.Option("--microphone", help="With --live: listen to it, until Ctrl-C.")
    ] = False,
    endpoint_seconds: Annotated[
        float, typer.Option(min=0, help="With --live: silence that ends a text; 0: the end does.")
    ] = 1.2,
) -> None:
    """Turn audio files of any length into text.

    Named are files, folders (searched), manifests (.jsonl, with their stretches), or - for audio on standard
    input. Prints the text of one file, or path, tab and text of each of several, in their order. With
    --format jsonl (or --json) each line is an object with audio_filepath, duration, text, words and tokens
    (times in seconds): a file of such lines is a manifest. With json all of them are one array; srt and vtt
    are subtitles of one file. A file that cannot be used is an error line on standard error; the others are
    still transcribed, and the exit code is 1.

    With --live audio is transcribed as it comes: 16-bit samples at 16 kHz or WAV on standard input (-), or
    the microphone. A terminal shows the text as it grows, pipes get each text once it is final; --json writes
    both.

    \b
    Examples:
      kdcompress transcribe bundles/mine call.wav
      kdcompress transcribe bundles/mine recordings/*.flac > texts.tsv
      kdcompress transcribe bundles/mine lecture.mp3 --format vtt > lecture.vtt
      kdcompress transcribe bundles/mine recordings/ --format srt --out subtitles/
      find calls -name '*.wav' | kdcompress transcribe bundles/mine --files-from - --json --channels split
      ffmpeg -i talk.mp4 -f wav - | kdcompress transcribe bundles/mine -
      kdcompress transcribe bundles/mine call.wav --lm words.arpa --hotword 'kd compress'
      arecord -f S16_LE -r 16000 | kdcompress transcribe bundles/live - --live
      kdcompress transcribe bundles/live --live --microphone
    """
    chosen = _format(format_, as_json)
    if live or microphone:
        _check_live(live, microphone, files or [], chosen)
        if beam or lm or lm_words or word_bonus or hotword or files_from or out or channels != "mix":
            raise typer.BadParameter(
                "it prints the best path of one stream: leave out what else is asked for", param_hint="--live"
            )
        write_live(
            bundle,
            microphone=microphone,
            as_json=chosen == "jsonl",
            variant=variant,
            provider=provider,
            threads=threads,
            endpoint_seconds=endpoint_seconds,
        )
        return
    from kdcompress.audio.sources import find_sources, read_list

    if not files and files_from is None:
        raise typer.BadParameter("name audio, or give a list with --files-from", param_hint="AUDIO")
    channel = _channel(channels)
    named = [*(files or []), *([] if files_from is None else read_list(files_from))]
    sources = list(find_sources(named, channel))
    if out is None and chosen in {"srt", "vtt"} and (len(sources) > 1 or channels == "split"):
        raise typer.BadParameter(f"{chosen} of several files needs --out DIR", param_hint="--format")
    if out is not None:
        _prepare(out, sources, SUFFIXES[chosen])
    code = write_transcripts(
        bundle,
        sources,
        chosen,
        out,
        variant=variant,
        provider=provider,
        threads=threads,
        jobs=jobs,
        batch_seconds=batch_seconds,
        split=channels == "split",
        cutting=(chunk_seconds, overlap_seconds, pause_seconds),
        decoder=_decoder(beam, lm, lm_words, lm_weight, word_bonus, tuple(hotword or ()), hotword_weight),
    )
    if code:
        raise typer.Exit(code)


def _check_live(live: bool, microphone: bool, files: list[Path], chosen: Format) -> None:
    if not live:
        raise typer.BadParameter(
            "it is for text while somebody speaks: add --live", param_hint="--microphone"
        )
    if [str(file) for file in files] != ([] if microphone else ["-"]):
        wanted = "nothing beside --microphone" if microphone else "-, or --microphone instead"
        raise typer.BadParameter(f"as audio give {wanted}", param_hint="--live")
    if chosen not in {"text", "jsonl"}:
        raise typer.BadParameter(f"what is not over cannot be written as {chosen}", param_hint="--format")


def _format(chosen: Format, as_json: bool) -> Format:
    if as_json and chosen not in {"text", "jsonl"}:
        raise typer.BadParameter(f"--json is --format jsonl, not {chosen}: give one of them")
    return "jsonl" if as_json else chosen


def _channel(chosen: str) -> int | None:
    if chosen in {"mix", "split"}:
        return None
    if not chosen.isdecimal():
        raise typer.BadParameter(f"{chosen!r} is not mix, split or a number from 0", param_hint="--channels")
    return int(chosen)


def _prepare(out: Path, sources: "list[Source]", suffix: str) -> None:
    """Make the folder of the results, which have the names of the recordings."""
    taken: set[str] = set()
    for source in sources:
        if source.name in taken:
            raise typer.BadParameter(
                f"two recordings would be written to {source.name}.{suffix}", param_hint="--out"
            )
        taken.add(source.name)
    out.mkdir(parents=True, exist_ok=True)


def _decoder(
    beam: int,
    lm: Path | None,
    lm_words: Path | None,
    lm_weight: float,
    word_bonus: float | None,
    hotwords: tuple[str, ...],
    hotword_weight: float,
) -> "Decoder | None":
    if not beam and lm is None and lm_words is None and not word_bonus and not hotwords:
        return None
    from kdcompress.text.beam import BeamSearch

    return BeamSearch(
        beam=beam or 16,
        lm=lm,
        lm_words=lm_words,
        lm_weight=lm_weight,
        word_bonus=word_bonus,
        hotwords=hotwords,
        hotword_weight=hotword_weight,
    )

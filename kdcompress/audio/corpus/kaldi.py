"""Kaldi data directories: wav.scp, with segments, utt2dur or reco2dur and text where there are any."""

from collections.abc import Iterator
from pathlib import Path

from kdcompress.audio.corpus.line import Line, numbered_lines
from kdcompress.errors import AudioError, ManifestError


def read_kaldi(folder: Path, with_text: bool) -> Iterator[Line]:
    """Yield the utterances of a data directory, in the order of segments, or else of wav.scp.

    Raises:
        AudioError: a file cannot be read.
        ManifestError: an entry is a pipe or an archive, or is not what the format says.
    """
    recordings = dict(_recordings(folder))
    texts = _table(folder / "text") if with_text else {}
    if (folder / "segments").is_file():
        lengths = _seconds(folder / "reco2dur")
        lines = _segments(folder / "segments", recordings, lengths)
    else:
        lengths = _seconds(folder / "utt2dur") or _seconds(folder / "reco2dur")
        lines = (
            Line(number, id_, audio, 0.0, lengths.get(id_), known=id_ in lengths)
            for number, (id_, audio) in enumerate(recordings.items(), 1)
        )
    for line in lines:
        if not with_text:
            yield line
        elif line.id in texts:
            yield Line(
                line.number, line.id, line.audio, line.start, line.duration, texts[line.id], known=line.known
            )
        else:
            raise ManifestError(f"{folder / 'text'}: expected a transcript of {line.id!r}, found none")


def _recordings(folder: Path) -> Iterator[tuple[str, Path]]:
    path = folder / "wav.scp"
    for id_, (number, name) in _rows(path).items():
        if name.endswith("|"):
            raise ManifestError(
                f"{path}:{number}: {id_!r} is the output of a command, which is not run; write its audio "
                "to a file, and name that"
            )
        if not name or ".ark:" in name:
            raise ManifestError(
                f"{path}:{number}: expected an audio file for {id_!r}, found {name or 'nothing'!r}"
            )
        beside = folder / name
        # Kaldi itself takes a relative path from wherever it is started.
        yield id_, beside if beside.exists() or not Path(name).exists() else Path(name)


def _segments(path: Path, recordings: dict[str, Path], lengths: dict[str, float]) -> Iterator[Line]:
    for id_, (number, rest) in _rows(path).items():
        where = f"{path}:{number}"
        try:
            recording, first, last, *channel = rest.split()
            start, end = float(first), float(last)
            chosen = int(channel[0]) if channel else None
        except ValueError as error:
            raise ManifestError(
                f"{where}: expected utterance, recording, start and end, found {rest!r}"
            ) from error
        if recording not in recordings:
            raise ManifestError(f"{where}: the recording {recording!r} is not in wav.scp")
        if end < 0:  # to the end of the recording
            yield Line(number, id_, recordings[recording], start, None, channel=chosen)
        elif not 0 <= start < end:
            raise ManifestError(f"{where}: expected a start before the end, found {first} and {last}")
        else:
            known = end <= lengths.get(recording, 0.0)
            yield Line(number, id_, recordings[recording], start, end - start, channel=chosen, known=known)


def _rows(path: Path) -> dict[str, tuple[int, str]]:
    rows: dict[str, tuple[int, str]] = {}
    for number, text in numbered_lines(path, "Kaldi's file"):
        id_, _, rest = text.strip().partition(" ")
        if "\t" in id_:
            id_, _, rest = text.strip().partition("\t")
        if id_ in rows:
            raise ManifestError(f"{path}:{number}: the id {id_!r} was already used in line {rows[id_][0]}")
        rows[id_] = number, rest.strip()
    return rows


def _table(path: Path) -> dict[str, str]:
    if not path.is_file():
        raise AudioError(f"no such file: {path}, which ought to hold the transcripts")
    return {id_: text for id_, (_, text) in _rows(path).items()}


def _seconds(path: Path) -> dict[str, float]:
    if not path.is_file():
        return {}
    seconds = {}
    for id_, (number, text) in _rows(path).items():
        try:
            seconds[id_] = float(text)
        except ValueError as error:
            raise ManifestError(f"{path}:{number}: expected a duration in seconds, found {text!r}") from error
        if not 0 < seconds[id_] < float("inf"):
            raise ManifestError(f"{path}:{number}: expected a duration in seconds, found {text!r}")
    return seconds

"""Write the manifests of a corpus that lies unpacked on the disk, with lhotse's own recipe for it.

    python recipes/corpora/prepare.py librispeech-100 LibriSpeech/ data/librispeech-100
    python recipes/corpora/prepare.py librispeech-960 LibriSpeech/ data/librispeech-960
    python recipes/corpora/prepare.py tedlium2 TEDLIUM_release2/ data/tedlium2
    python recipes/corpora/prepare.py aishell1 aishell/ data/aishell1

OUT then holds train.jsonl, dev.jsonl and test.jsonl (of LibriSpeech also the two halves of the test,
test-clean.jsonl and test-other.jsonl), and validation.jsonl: ten minutes of dev, evenly spaced, to validate a
run on. Audio stays where it is. Every line has a text; `kdcompress distill` does not look at it unless
objective.kd_weight is below 1.
"""

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

LIBRISPEECH_TESTS = {
    "dev": ("dev-clean", "dev-other"),
    "test": ("test-clean", "test-other"),
    "test-clean": ("test-clean",),
    "test-other": ("test-other",),
}
ALL_OF_LIBRISPEECH = ("train-clean-100", "train-clean-360", "train-other-500")
THREE_PARTS = {"train": ("train",), "dev": ("dev",), "test": ("test",)}
VALIDATION_SECONDS = 600.0

# What TED-LIUM writes that nobody says: <sil>, {BREATH}, the number of a pronunciation as in "read(2)".
UNSPOKEN = re.compile(r"<[^>]*>|\{[^}]*\}|\(\d+\)")


def librispeech(corpus: Path, parts: list[str], jobs: int) -> dict[str, Any]:
    """Return lhotse's manifests of LibriSpeech by part."""
    from lhotse.recipes.librispeech import prepare_librispeech

    return prepare_librispeech(corpus, dataset_parts=parts, num_jobs=jobs)


def tedlium2(corpus: Path, parts: list[str], jobs: int) -> dict[str, Any]:
    """Return lhotse's manifests of TED-LIUM release 2 by part; one job reads its few long files."""
    from lhotse.audio.backend import LibsndfileBackend, audio_backend
    from lhotse.recipes.tedlium2 import prepare_tedlium2

    # Release 2 is not compressed, so libsndfile reads it, as training does; lhotse would ask for sph2pipe.
    # Its other jobs are processes, which would not know of that.
    with audio_backend(LibsndfileBackend()):
        return prepare_tedlium2(corpus, dataset_parts=parts, normalize_text="kaldi")


def aishell1(corpus: Path, parts: list[str], jobs: int) -> dict[str, Any]:
    """Return lhotse's manifests of AISHELL-1 by part; it works with one job."""
    from lhotse.recipes.aishell import prepare_aishell

    return prepare_aishell(corpus)


class Corpus(NamedTuple):
    """What is known of a corpus.

    Attributes:
        manifests: lhotse's recipe for it.
        place: where a part lies.
        audio: the suffix of its files.
        splits: which parts each of our manifests holds.
    """

    manifests: Callable[[Path, list[str], int], dict[str, Any]]
    place: str
    audio: str
    splits: dict[str, tuple[str, ...]]


CORPORA = {
    "librispeech-960": Corpus(librispeech, "{}", ".flac", {"train": ALL_OF_LIBRISPEECH, **LIBRISPEECH_TESTS}),
    "librispeech-100": Corpus(
        librispeech, "{}", ".flac", {"train": ("train-clean-100",), **LIBRISPEECH_TESTS}
    ),
    "tedlium2": Corpus(tedlium2, "{}/sph", ".sph", THREE_PARTS),
    "aishell1": Corpus(aishell1, "data_aishell/wav/{}", ".wav", THREE_PARTS),
}


def lines_of(manifests: dict[str, Any]) -> list[dict[str, Any]]:
    """Return our manifest lines of a part of lhotse's recordings and supervisions, sorted by id."""
    files = {recording.id: recording.sources[0].source for recording in manifests["recordings"]}
    lines = []
    for segment in manifests["supervisions"]:
        text = " ".join(UNSPOKEN.sub(" ", segment.text or "").split())
        audio = os.path.abspath(files[segment.recording_id])
        line = {"id": segment.id, "audio_filepath": audio, "duration": round(segment.duration, 4)}
        lines.append(line | ({"offset": round(segment.start, 4)} if segment.start else {}) | {"text": text})
    return sorted(lines, key=lambda line: str(line["id"]))


def evenly_spaced(lines: list[dict[str, Any]], seconds: float) -> list[dict[str, Any]]:
    """Return every k-th line, so that they last about `seconds` together; all where they are shorter."""
    step = max(1.0, sum(line["duration"] for line in lines) / seconds)
    return [lines[int(index * step)] for index in range(int(-(-len(lines) // step)))]


def write(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    """Write a manifest, whole or not at all, and say how much is in it."""
    from kdcompress.files import write_file

    lines = list(lines)
    write_file(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    hours = sum(line["duration"] for line in lines) / 3600
    sys.stdout.write(f"{path}: {len(lines)} utterances, {hours:.2f} h\n")


def prepare(name: str, corpus: Path, out: Path, jobs: int = 1) -> None:
    """Write the manifests of a corpus.

    Raises:
        SystemExit: a part of the corpus is missing or empty; says which.
    """
    known = CORPORA[name]
    parts = list(dict.fromkeys(part for needed in known.splits.values() for part in needed))
    for part in parts:
        folder = corpus / known.place.format(part)
        if not folder.is_dir():
            sys.exit(f"error: {corpus} is not {name}: it has no {known.place.format(part)}; unpack it there")
        if not any(folder.rglob(f"*{known.audio}")):
            sys.exit(f"error: {folder} holds no audio ({known.audio}); unpack all archives in it")
    try:
        found = known.manifests(corpus, parts, jobs)
    except (AssertionError, ValueError, OSError) as error:
        sys.exit(f"error: {corpus} cannot be read as {name}: {' '.join(str(error).split())}")
    lines = {part: lines_of(found[part]) for part in parts}
    out.mkdir(parents=True, exist_ok=True)
    for split, needed in known.splits.items():
        write(out / f"{split}.jsonl", (line for part in needed for line in lines[part]))
    dev = [line for part in known.splits["dev"] for line in lines[part]]
    write(out / "validation.jsonl", evenly_spaced(dev, VALIDATION_SECONDS))


def main() -> None:
    """Parse and prepare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", metavar="CORPUS", choices=CORPORA, help=", ".join(CORPORA))
    parser.add_argument("corpus", metavar="CORPUS_DIR", type=Path, help="where it is unpacked")
    parser.add_argument("out", metavar="OUT", type=Path, help="folder for the manifests")
    parser.add_argument("--jobs", type=int, default=4, help="threads that read headers")
    given = parser.parse_args()
    try:
        prepare(given.name, given.corpus, given.out, given.jobs)
    except ModuleNotFoundError as error:
        sys.exit(f"error: {error.name} is not installed: pip install 'kdcompress[train]'")


if __name__ == "__main__":
    main()

"""What lies at a path: a run, a bundle, a model of another tool, recordings, or nothing of use.

Of folders only names are looked at, of lists the first line: what is found may still be damaged.
"""

import json
import os
from enum import Enum
from itertools import islice
from pathlib import Path

# Of a folder that holds many files, so many are looked at.
_LOOKED_AT = 2000


class Kind(Enum):
    """What lies at a path; the values name it in messages."""

    NOTHING = "nothing"
    RUN = "a run directory"
    UNFINISHED_RUN = "a run directory without a checkpoint"
    CHECKPOINT = "a checkpoint"
    CACHE = "a cache"
    BUNDLE = "a bundle"
    ONNX_FILE = "an ONNX file"
    ONNX_FOLDER = "a folder with ONNX files"
    HUGGING_FACE = "a Hugging Face model"
    RECIPE = "a recipe"
    MANIFEST = "a manifest"
    AUDIO_FILE = "an audio file"
    AUDIO_FOLDER = "a folder of audio files"
    CUTS = "a file of lhotse cuts"
    SHAR = "a lhotse Shar directory"
    KALDI = "a Kaldi data directory"
    NEMO = "a NeMo tarred data set"
    WEBDATASET = "tars of audio (webdataset)"
    TABLES = "a Hugging Face data set"
    OTHER_FILE = "a file of another kind"
    OTHER_FOLDER = "a folder of another kind"


_AUDIO = (Kind.AUDIO_FILE, Kind.AUDIO_FOLDER, Kind.SHAR, Kind.KALDI, Kind.NEMO, Kind.WEBDATASET, Kind.TABLES)


def identify(path: Path) -> Kind:
    """Tell what lies at a path."""
    path = path.expanduser()
    if path.is_dir():
        return _folder(path)
    return _file(path) if path.exists() else Kind.NOTHING


def graphs_in(folder: Path) -> list[Path]:
    """Return the ONNX files of a folder, sorted; where it has none, those of the onnx/ in it (optimum)."""
    return sorted(folder.glob("*.onnx")) or sorted((folder / "onnx").glob("*.onnx"))


def no_bundle(path: Path) -> str:
    """Say what lies at a path where a bundle was expected, and how to come to one."""
    kind = identify(path)
    if kind is Kind.NOTHING:
        return "no such directory; kdcompress export writes bundles"
    advice = {
        Kind.RUN: f"write one with kdcompress export {path} --out BUNDLE",
        Kind.CHECKPOINT: f"write one with kdcompress export {path} --out BUNDLE",
        Kind.UNFINISHED_RUN: "train until it has a checkpoint, then export it",
        **dict.fromkeys(_AUDIO, "the bundle comes first, then the recordings"),
    }.get(kind, "kdcompress export writes bundles")
    return f"it has no bundle.json and is {kind.value}; {advice}"


def _folder(path: Path) -> Kind:
    def has(*names: str) -> bool:
        return any((path / name).is_file() for name in names)

    # A bundle before a Hugging Face model: its config.json is onnx-asr's.
    for kind, names in (
        (Kind.CHECKPOINT, ("student.json",)),
        (Kind.RUN, ("best", "last")),  # which name its checkpoints
        (Kind.CACHE, ("cache.json",)),
        (Kind.BUNDLE, ("bundle.json",)),
    ):
        if has(*names):
            return kind
    if graphs_in(path) and not any(path.glob("*.safetensors")):
        return Kind.ONNX_FOLDER
    if has("config.json"):
        return Kind.HUGGING_FACE
    if has("recipe.yaml") and has("environment.json"):
        return Kind.UNFINISHED_RUN
    if (corpus := _corpus(path)) is not None:
        return corpus
    walk = (name for _, _, names in os.walk(path) for name in names)
    return Kind.AUDIO_FOLDER if any(map(_is_audio, islice(walk, _LOOKED_AT))) else Kind.OTHER_FOLDER


def _file(path: Path) -> Kind:
    suffix = path.suffix.lower()
    if suffix == ".onnx":
        return Kind.ONNX_FILE
    if suffix in {".yaml", ".yml"}:
        return Kind.RECIPE
    lists = (".jsonl", ".jsonl.gz", ".json", ".tar", ".parquet", ".arrow")
    if path.name.endswith(lists) and (corpus := _corpus(path)) is not None:
        return corpus
    if path.name.endswith((".jsonl", ".jsonl.gz")) or _begins_like_a_manifest(path):
        return Kind.MANIFEST
    return Kind.AUDIO_FILE if _is_audio(path.name) else Kind.OTHER_FILE


def _corpus(path: Path) -> Kind | None:
    """Return which corpus lies at a path, if it is neither a plain folder nor a manifest."""
    from kdcompress.audio.corpus.open import corpus_format  # not above: what opens bundles need not load it

    name = corpus_format(path).name
    return Kind[name] if name not in {"FOLDER", "MANIFEST"} else None


def _is_audio(name: str) -> bool:
    from kdcompress.audio.sniff import (  # not above: what opens bundles need not load it
        AUDIO_SUFFIXES,
        AV_SUFFIXES,
    )

    return os.path.splitext(name)[1].lower() in {*AUDIO_SUFFIXES, *AV_SUFFIXES}


def _begins_like_a_manifest(path: Path) -> bool:
    if path.suffix.lower() not in {".json", ".txt", ""} or not path.is_file():
        return False
    try:
        with path.open(encoding="utf-8-sig") as file:
            line = json.loads(file.readline(1 << 16))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(line, dict) and "audio_filepath" in line

"""Small things that stand in for the models and the audio that the documents name."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

RATE = 16_000
TEXTS = ("ab ca", "cab", "b ac", "abc ab", "ca", "bac c", "ac ba", "cb a")
LETTERS = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ'"]
ARPA = """\\data\\
ngram 1=5
ngram 2=2

\\1-grams:
-1.5\t<unk>\t0
-99\t<s>\t-0.3
-1.2\t</s>\t0
-0.7\tab\t-0.2
-0.9\tca\t-0.1

\\2-grams:
-0.2\t<s> ab
-0.3\tab ca

\\end\\
"""


@pytest.fixture(scope="session")
def recordings(
    tmp_path_factory: pytest.TempPathFactory, say: Callable[[str], npt.NDArray[np.float32]]
) -> Path:
    """Return a folder of eight recordings of tones, with test.jsonl beside them."""
    folder = tmp_path_factory.mktemp("recordings")
    lines = []
    for index, text in enumerate(TEXTS):
        samples = say(text)
        soundfile.write(folder / f"{index}.wav", samples, RATE)
        line = {"audio_filepath": str(folder / f"{index}.wav"), "duration": len(samples) / RATE, "text": text}
        lines.append(json.dumps(line | {"id": f"test {index}"}) + "\n")
    (folder / "test.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


class Nobody:
    """An observer that does not listen."""

    def stage(self, *_: object) -> None: ...
    def step(self, *_: object) -> None: ...
    def validated(self, *_: object) -> None: ...
    def say(self, *_: object) -> None: ...


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path, recordings: Path) -> Path:
    """Return a finished run of two steps, whose student understands the recordings as its teacher does."""
    from kdcompress.config.recipe import make_recipe
    from kdcompress.distill.loop import distill
    from kdcompress.students.weights import load_student

    shape = load_student(tiny_checkpoint).model.config.model_dump(mode="json")
    layers = {
        "teacher": {"kind": "checkpoint", "path": str(tiny_checkpoint)},
        "student": shape,
        "data": {"audio": str(recordings), "batch_seconds": 20},
        "training": {
            "start_from": str(tiny_checkpoint),
            "steps": 2,
            "peak_lr": 1e-6,
            "validate_every": 1,
            "log_every": 1,
        },
    }
    folder = tmp_path_factory.mktemp("run") / "run"
    distill(make_recipe(layers, [], "the run that documents name"), folder, Nobody())
    return folder


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path, recordings: Path) -> Path:
    """Return a cache of what `tiny_checkpoint` says of the recordings."""
    from kdcompress.config.cache import CacheStorage
    from kdcompress.config.recipe import make_recipe
    from kdcompress.distill.cache_writer import write_cache

    layers = {
        "teacher": {"kind": "checkpoint", "path": str(tiny_checkpoint)},
        "data": {"audio": str(recordings), "batch_seconds": 20, "noise_share": 0.2},
    }
    folder = tmp_path_factory.mktemp("cache") / "cache"
    write_cache(make_recipe(layers, [], "the cache that documents name"), folder, CacheStorage(), Nobody())
    return folder


@pytest.fixture(scope="session")
def stand_ins(
    recordings: Path,
    hugging_face: Callable[..., Path],
    run: Path,
    cache: Path,
    tiny_bundle: Path,
    waveform_bundle: Path,
    streaming_tone_bundle: Path,
) -> Callable[[str, Path], None]:
    """Return what puts a stand-in of some kind at a path."""

    def recording(place: Path) -> None:
        samples, rate = soundfile.read(recordings / "0.wav")
        form = {"format": "OGG", "subtype": "OPUS"} if place.suffix == ".opus" else {}
        soundfile.write(place, samples, rate, **form)

    folders = {
        "recordings": recordings,
        "Hugging Face model": hugging_face(LETTERS, blank_bias=3.0),
        "run": run,
        "cache": cache,
        "bundle": tiny_bundle,
        "waveform bundle": waveform_bundle,
        "streaming bundle": streaming_tone_bundle,
    }
    makers: dict[str, Callable[[Path], object]] = {
        "recording": recording,
        "manifest": lambda place: shutil.copy(recordings / "test.jsonl", place),
        "language model": lambda place: place.write_text(ARPA, encoding="utf-8"),
    }

    def put(kind: str, place: Path) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        if kind in folders:
            shutil.copytree(folders[kind], place)
        else:
            makers[kind](place)

    return put

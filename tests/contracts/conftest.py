"""Recordings of tones, for the programs that load a bundle without kdcompress."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """Return what is said in the recordings: of different lengths, so that a batch of them is padded."""
    return ["ab ca b", "c", "ba bb a cab", "cc a"]


@pytest.fixture(scope="session")
def recordings(
    tmp_path_factory: pytest.TempPathFactory, say: Callable[[str], npt.NDArray[np.float32]], texts: list[str]
) -> Path:
    """Return a manifest of 0.wav, 1.wav, ... beside it; the last line is a stretch of a longer file."""
    folder = tmp_path_factory.mktemp("recordings")
    lines = []
    for index, text in enumerate(texts[:-1]):
        soundfile.write(folder / f"{index}.wav", say(text), 16_000)
        lines.append({"audio_filepath": f"{index}.wav", "text": text})
    long = np.concatenate([say("abcabc"), say(texts[-1])])
    soundfile.write(folder / "long.flac", long, 16_000)
    offset = len(say("abcabc")) / 16_000
    lines.append({"audio_filepath": "long.flac", "offset": offset, "duration": len(long) / 16_000 - offset})
    manifest = folder / "some.jsonl"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return manifest

"""The demo's clips, which lie one behind the other in a few files."""

import json
import runpy
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from kdcompress.audio.decode import probe, read_audio
from kdcompress.resources import resource_dir

DEMO = resource_dir("recipes") / "demo"
RATE = 16_000


@pytest.mark.parametrize(("name", "count", "minutes"), [("train", 1150, 40.3), ("test", 165, 5.9)])
def test_no_stretch_meets_another_or_leaves_its_file(name: str, count: int, minutes: float) -> None:
    lines = [json.loads(line) for line in (DEMO / f"{name}.jsonl").read_text("utf-8").splitlines()]
    assert len({line["id"] for line in lines}) == count
    assert sum(line["duration"] for line in lines) / 60 == pytest.approx(minutes, abs=0.05)
    for file in {line["audio_filepath"] for line in lines}:
        stretches = sorted((x["offset"], x["duration"]) for x in lines if x["audio_filepath"] == file)
        assert all(a + length < b for (a, length), (b, _) in pairwise(stretches))
        assert sum(stretches[-1]) <= probe(DEMO / file).duration


def test_the_clip_by_itself_is_the_first_of_the_test() -> None:
    first = json.loads((DEMO / "test.jsonl").read_text("utf-8").splitlines()[0])
    stretch = read_audio(DEMO / first["audio_filepath"], first["offset"], first["duration"])
    assert np.array_equal(read_audio(DEMO / "start.opus", 0, first["duration"]), stretch)


def test_a_clip_that_was_joined_decodes_to_the_same_samples(tmp_path: Path) -> None:
    rng, clips = np.random.default_rng(0), []
    for index, seconds in enumerate((0.7, 2.35, 0.31, 1.2)):
        time = np.arange(round(seconds * RATE)) / RATE
        voice = sum(np.sin(2 * np.pi * 110 * k * time) / k for k in range(1, 9))
        sound = 0.1 * voice * (1 + np.sin(20 * time)) + 0.02 * rng.standard_normal(len(time))
        clips.append(tmp_path / f"{index}.opus")
        coding = {"format": "OGG", "subtype": "OPUS", "compression_level": 0.95}
        with soundfile.SoundFile(clips[-1], "w", RATE, 1, **coding) as file:
            file.write(sound)
    joined = tmp_path / "joined.opus"
    places = runpy.run_path(str(DEMO / "join.py"))["join"](clips, joined)
    for order in (range(4), (2, 0, 3, 1)):
        for index in order:
            assert np.array_equal(read_audio(joined, *places[index]), read_audio(clips[index]))


def test_clips_that_cannot_be_joined_exactly_are_refused(tmp_path: Path) -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(RATE)
    for name, rate in (("a", RATE), ("b", 8_000)):
        soundfile.write(tmp_path / f"{name}.opus", noise, rate, format="OGG", subtype="OPUS")
    with pytest.raises(ValueError, match=r"b\.opus has another form"):
        runpy.run_path(str(DEMO / "join.py"))["join"](
            [tmp_path / "a.opus", tmp_path / "b.opus"], tmp_path / "joined.opus"
        )

"""Packing: lhotse reads what is written, 16-bit samples stay as they were, and a killed call goes on."""

import gc
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import CutSet

from kdcompress.audio.corpus.open import Format, corpus_format, open_corpus
from kdcompress.audio.corpus.pack import pack
from kdcompress.audio.decode import read_audio, read_utterance
from kdcompress.audio.manifest import read_texts, read_utterances
from kdcompress.errors import AudioError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return nine WAVs in two folders: 16-bit at 16 kHz, one stereo at 22.05 kHz, one damaged."""
    path = tmp_path_factory.mktemp("plain")
    rng = np.random.default_rng(5)
    (path / "ä b").mkdir()
    for index in range(7):
        samples = rng.integers(-32768, 32768, size=5000 + 777 * index).astype(np.int16)
        soundfile.write(path / ("ä b" if index % 2 else ".") / f"u{index}.x.wav", samples, 16_000)
    soundfile.write(path / "two.wav", rng.normal(scale=0.1, size=(22_050, 2)), 22_050)
    (path / "zero.wav").write_bytes(b"RIFF")
    return path


def contents(out: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()
    }


# lhotse leaves the last tar open when the list of its cuts ends.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_is_packed_is_what_was_there_and_lhotse_reads_it(folder: Path, tmp_path: Path) -> None:
    done = pack(folder, tmp_path / "out", shard_size=3)
    assert (done.shards, done.reused, done.utterances, done.skipped) == (3, 0, 8, 1)
    assert "zero.wav" in (tmp_path / "out" / "skipped.jsonl").read_text()
    assert corpus_format(tmp_path / "out") is Format.SHAR
    plain = read_utterances(folder)[0]
    packed, bad = read_utterances(tmp_path / "out")
    assert not bad
    assert [u.id for u in packed] == [u.id for u in plain]
    for one, other in zip(packed, plain, strict=True):
        expected = read_audio(other.audio)
        assert one.duration == len(expected) / 16_000
        exact = other.id != "two"
        assert np.allclose(read_utterance(one), expected, rtol=0, atol=0 if exact else 1 / 65_536 + 1e-6)
    cuts = list(CutSet.from_shar(in_dir=str(tmp_path / "out" / "shar")))
    assert [(cut.id, cut.duration) for cut in cuts] == [(u.id, u.duration) for u in packed]
    gc.collect()
    for cut, utterance in zip(cuts, packed, strict=True):
        samples, rate = soundfile.read(io.BytesIO(cut.recording.sources[0].source), dtype="float32")
        assert rate == cut.recording.sampling_rate == 16_000
        assert np.array_equal(samples, read_utterance(utterance))


def test_the_index_says_what_the_tar_says(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    pack(folder, out, shard_size=4)
    indexed = read_utterances(out)[0]
    assert read_utterances(out / "shar")[0] == indexed  # without an index: as any Shar


def test_workers_and_a_second_call_change_no_byte(folder: Path, tmp_path: Path) -> None:
    pack(folder, tmp_path / "one", shard_size=2)
    whole = contents(tmp_path / "one")
    pack(folder, tmp_path / "two", shard_size=2, workers=2)
    assert contents(tmp_path / "two") == whole
    tar = tmp_path / "two" / "shar" / "recording.000002.tar"
    tar.write_bytes(tar.read_bytes()[:-1000])
    with pytest.raises(AudioError, match="not as it was packed"):
        read_utterances(tmp_path / "two")
    (tmp_path / "two" / "index" / "000001.jsonl").unlink()
    assert pack(folder, tmp_path / "two", shard_size=2).reused == 3
    assert contents(tmp_path / "two") == whole


def test_another_source_replaces_what_differs(folder: Path, tmp_path: Path) -> None:
    pack(folder, tmp_path / "out", shard_size=1)
    pack(folder / "ä b", tmp_path / "out", shard_size=2)
    assert [u.id for u in read_utterances(tmp_path / "out")[0]] == ["u1.x", "u3.x", "u5.x"]
    assert len(open_corpus(tmp_path / "out")) == 2
    with pytest.raises(AudioError, match="something else"):
        pack(folder / "ä b", folder)


def test_texts_are_packed_when_they_are_asked_for(folder: Path, tmp_path: Path) -> None:
    lines = [
        {
            "audio_filepath": str(folder / "two.wav"),
            "id": "a",
            "offset": 0.25,
            "duration": 0.5,
            "text": "x y",
        },
        {"audio_filepath": str(folder / "two.wav"), "id": "b", "channel_selector": 1, "text": ""},
    ]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    pack(tmp_path / "m.jsonl", tmp_path / "out", with_text=True)
    assert read_texts(tmp_path / "out") == {"a": "x y", "b": ""}
    expected = [read_utterance(u) for u in read_utterances(tmp_path / "m.jsonl")[0]]
    for one, samples in zip(read_utterances(tmp_path / "out")[0], expected, strict=True):
        assert one.duration == len(samples) / 16_000
        assert np.allclose(read_utterance(one), samples, rtol=0, atol=1 / 65_536 + 1e-6)
    pack(tmp_path / "m.jsonl", tmp_path / "out")
    assert b"x y" not in b"".join(contents(tmp_path / "out").values())


@pytest.mark.slow
def test_a_killed_call_goes_on_to_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    many = tmp_path / "many"
    many.mkdir()
    for index in range(150):
        (many / f"{index:03}.wav").symlink_to(folder / "u0.x.wav")
    pack(many, tmp_path / "whole", shard_size=2)
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "kdcompress",
        "pack",
        many,
        "--out",
        out,
        "--shard-size",
        "2",
        "--workers",
        "2",
    ]
    running = subprocess.Popen(command, stderr=subprocess.PIPE)
    while not (out / "index" / "000000.jsonl").exists():
        assert running.poll() is None, running.stderr and running.stderr.read()
        time.sleep(0.01)
    os.kill(running.pid, signal.SIGKILL)
    running.communicate()
    if not (out / "corpus.json").exists():  # it may have been done by then
        with pytest.raises(AudioError, match="in part only"):
            read_utterances(out)
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "150 utterances" in again.stdout
    assert contents(out) == contents(tmp_path / "whole")

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from kdcompress.audio.speech import read_speech
from kdcompress.audio.utterance import Reference, Utterance
from kdcompress.errors import AudioError, ManifestError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.wav", "b.wav"):
        soundfile.write(tmp_path / name, np.zeros(8000), 16_000)
    return tmp_path


def manifest(folder: Path, *lines: dict[str, str | None]) -> Path:
    path = folder / "m.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def test_a_folder_has_no_transcripts(folder: Path) -> None:
    found = read_speech(folder)
    assert [one.id for one in found if isinstance(one, Utterance)] == ["a", "b"]


def test_texts_are_read_where_there_are_some(folder: Path) -> None:
    names: list[dict[str, str | None]] = [{"audio_filepath": "a.wav"}, {"audio_filepath": "b.wav"}]
    with_texts = manifest(folder, {**names[0], "text": "Said"}, {**names[1], "text": ""})
    assert [one.text for one in read_speech(with_texts) if isinstance(one, Reference)] == ["Said", ""]
    without = manifest(folder, names[0], {**names[1], "text": None})
    assert [type(one) for one in read_speech(without)] == [Utterance, Utterance]
    with pytest.raises(ManifestError, match=r"m\.jsonl:2: expected text, the transcript"):
        read_speech(manifest(folder, {**names[0], "text": "Said"}, names[1]))


def test_what_cannot_be_heard_is_refused(folder: Path) -> None:
    gone: list[dict[str, str | None]] = [{"audio_filepath": f"{n}.wav", "text": "x"} for n in range(2)]
    with pytest.raises(AudioError) as refused:
        read_speech(manifest(folder, {"audio_filepath": "a.wav", "text": "x"}, *gone))
    path = folder / "m.jsonl"
    assert str(refused.value) == (
        f"{path}:2: no such audio file: {folder / '0.wav'} (2 such lines of 3); "
        "restore the audio, or take the line out"
    )
    (folder / "c.wav").write_bytes(b"")
    with pytest.raises(AudioError, match=r"c\.wav is empty \(0 bytes\)"):
        read_speech(folder)
    for bad in (folder / "none.jsonl", folder / "none"):
        with pytest.raises(AudioError, match="no such folder or manifest"):
            read_speech(bad)
    (folder / "m.jsonl").write_text("no json\n")
    with pytest.raises(ManifestError, match=r"m\.jsonl:1: not JSON"):
        read_speech(folder / "m.jsonl")
    (folder / "m.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(ManifestError, match="is not UTF-8"):
        read_speech(folder / "m.jsonl")

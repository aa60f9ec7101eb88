"""Whatever is named becomes a list of recordings: folders, manifests, lists, pipes."""

import io
import os
import threading
from pathlib import Path

import pytest
from odd_audio import encoded, noise

from kdcompress.audio.decode import read_audio
from kdcompress.audio.sources import find_sources, on_disk, read_list
from kdcompress.audio.utterance import Stretch
from kdcompress.errors import AudioError, ManifestError

WAV = encoded(noise(0.5), 16_000, "WAV", "PCM_16")


class Stdin:
    def __init__(self, content: bytes, terminal: bool = False) -> None:
        self.buffer, self._terminal = io.BytesIO(content), terminal

    def isatty(self) -> bool:
        return self._terminal


def test_folders_manifests_and_files(tmp_path: Path) -> None:
    for name in ("f/one/a.wav", "f/two/a.wav", "f/two/a.flac", "f/two/.hidden.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(WAV)
    manifest = tmp_path / "m.jsonl"
    manifest.write_text(
        '{"audio_filepath": "f/one/a.wav", "offset": 1, "duration": 2, "channel_selector": 1}\n'
        '{"audio_filepath": "/elsewhere/../b.wav", "text": null}\n'
    )
    named = [tmp_path / "f", manifest, tmp_path / "none.mp3", Path("-")]
    found = list(find_sources(named, channel=0))
    assert [source.name for source in found] == [
        "one/a", "two/a", "two/a.wav", "f/one/a@1.000#1", "elsewhere/b", "none", "stdin",
    ]  # fmt: skip
    assert found[3].stretch == Stretch(tmp_path / "f/one/a.wav", 1.0, 2.0, 1)
    assert [source.stretch.channel for source in found] == [0, 0, 0, 1, 0, 0, 0]
    (tmp_path / "empty").mkdir()
    with pytest.raises(AudioError, match="no audio in"):
        list(find_sources([tmp_path / "empty"]))
    manifest.write_text("nonsense\n")
    with pytest.raises(ManifestError, match=r"m\.jsonl:1: not JSON"):
        list(find_sources([manifest]))


def test_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "list").write_bytes(b"a.wav\n\nb c.wav\r\n\xff.wav\n")
    assert read_list(tmp_path / "list") == [Path("a.wav"), Path("b c.wav"), Path(os.fsdecode(b"\xff.wav"))]
    monkeypatch.setattr("sys.stdin", Stdin(b"a\nb.wav\0c.wav\0"))
    assert read_list(Path("-")) == [Path("a\nb.wav"), Path("c.wav")]
    for content, message in ((b"", "names no files"), (b"\n\n", "names no files")):
        (tmp_path / "list").write_bytes(content)
        with pytest.raises(AudioError, match=message):
            read_list(tmp_path / "list")
    with pytest.raises(AudioError, match=r"cannot read the list .*No such file"):
        read_list(tmp_path / "none")


def test_pipes_are_copied_and_the_copy_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fifo = tmp_path / "fifo.wav"
    os.mkfifo(fifo)
    writer = threading.Thread(target=fifo.write_bytes, args=(WAV,))
    writer.start()
    with on_disk(fifo) as copy:
        assert len(read_audio(copy)) == 8000
    writer.join()
    assert not copy.exists()
    monkeypatch.setattr("sys.stdin", Stdin(WAV))
    with on_disk(Path("-")) as copy:
        assert len(read_audio(copy)) == 8000
    assert not copy.exists()
    monkeypatch.setattr("sys.stdin", Stdin(b"this is text"))
    with pytest.raises(AudioError, match=r"^standard input is not audio"), on_disk(Path("-")) as copy:
        read_audio(copy)
    monkeypatch.setattr("sys.stdin", Stdin(b""))
    with pytest.raises(AudioError, match="standard input ended without a byte"), on_disk(Path("-")):
        pass
    monkeypatch.setattr("sys.stdin", Stdin(b"", terminal=True))
    with pytest.raises(AudioError, match="is a terminal: pipe audio"), on_disk(Path("-")):
        pass
    for path in (tmp_path, tmp_path / "none.wav"):
        with on_disk(path) as same:
            assert same == path
    # Who reads an audio file does not wait for somebody to write one.
    with pytest.raises(AudioError, match="is a pipe or a device"):
        read_audio(fifo)

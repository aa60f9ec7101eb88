import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import soundfile

from kdcompress.diagnosis import storage
from kdcompress.diagnosis.storage import check_storage


def test_formats_and_folders_of_this_machine_are_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    checks = {check.topic: check for check in check_storage()}
    assert checks["audio"].state == "ok"
    assert checks["audio"].found == "reads wav, flac, mp3, ogg, opus"
    assert "can be written to" in checks["this folder"].found
    assert not list(tmp_path.iterdir())


def test_a_format_that_the_library_lacks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = soundfile.write

    def old(path: Path, *arguments: Any, format: str, **options: Any) -> None:
        if format == "MP3":
            raise soundfile.LibsndfileError(1, "Unsupported: ")
        write(path, *arguments, format=format, **options)

    monkeypatch.setattr(soundfile, "write", old)
    check = storage._formats(tmp_path)
    assert check.state == "warn"
    assert "not mp3 (Unsupported" in check.found

    monkeypatch.setattr(storage, "read_audio", lambda path: 1 / 0)
    assert storage._formats(tmp_path).state == "bad"


def test_sound_that_comes_back_changed_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = storage.read_audio
    monkeypatch.setattr(storage, "read_audio", lambda path: 0 * read(path))
    assert "changed" in storage._readable(tmp_path / "tone.wav", "WAV", "PCM_16")


def test_a_full_disk_and_one_that_is_read_only_are_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10**8))
    check = storage._disk("here", tmp_path, "go elsewhere")
    assert (check.state, check.found, check.advice) == (
        "warn",
        "0.1 GB free, can be written to",
        "go elsewhere",
    )
    if os.path.isdir("/proc/self"):  # nobody, root neither, makes files there
        check = storage._disk("here", Path("/proc/self/nix"), "go elsewhere")
        assert (check.state, check.found[:21]) == ("warn", "cannot be written to:")

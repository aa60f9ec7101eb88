"""Audio formats that can be read, disks that can be written to."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from kdcompress.audio.decode import read_audio
from kdcompress.diagnosis.check import Check

_RATE = 48_000  # Opus has it; and reading resamples it
_TRIED = {
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
}
_LITTLE = 5e9  # [bytes] of disk: a teacher of 300 M parameters and a few checkpoints
_LITTLE_SHARED = 256e6  # [bytes] docker gives 64 MB


def check_storage() -> Iterator[Check]:
    """Write and read tiny files of each audio format, and try each folder that is written to."""
    with tempfile.TemporaryDirectory(prefix="kdcompress-") as folder:
        yield _formats(Path(folder))
    home = Path.home()
    cache = Path(os.environ.get("XDG_CACHE_HOME", home / ".cache"))
    hub = os.environ.get("HF_HUB_CACHE") or Path(os.environ.get("HF_HOME", cache / "huggingface")) / "hub"
    yield _disk("this folder", Path(), "choose an --out elsewhere")
    yield _disk("teachers from the hub", Path(hub), "set HF_HOME to a larger disk")
    torch_home = Path(os.environ.get("TORCH_HOME", cache / "torch"))
    yield _disk("torchaudio's teachers", torch_home, "set TORCH_HOME to a larger disk")
    yield _disk("temporary files", Path(tempfile.gettempdir()), "set TMPDIR to a larger disk", little=1e9)
    shared = Path("/dev/shm")
    if shared.is_dir():
        yield _disk(
            "shared memory",
            shared,
            "docker run --shm-size 2g, or leave data.workers at 0",
            little=_LITTLE_SHARED,
        )


def _formats(folder: Path) -> Check:
    results = {name: _readable(folder / f"tone.{name}", *kind) for name, kind in _TRIED.items()}
    good = [name for name, reason in results.items() if not reason]
    wrong = [f"{name} ({reason})" for name, reason in results.items() if reason]
    if "wav" not in good:
        return Check(
            "audio",
            "bad",
            f"not even wav is read: {wrong[0]}",
            "pip install --force-reinstall soundfile soxr",
        )
    if wrong:
        return Check(
            "audio",
            "warn",
            f"reads {', '.join(good)}; not {', '.join(wrong)}",
            "pip install --force-reinstall soundfile: its wheels bring a libsndfile that reads them",
        )
    return Check("audio", "ok", f"reads {', '.join(good)}")


def _readable(path: Path, kind: str, subtype: str) -> str:
    """Return why a format cannot be read; empty if it can."""
    tone = (0.3 * np.sin(np.arange(_RATE // 2) * 0.05)).astype(np.float32)
    try:
        soundfile.write(path, tone, _RATE, format=kind, subtype=subtype)
        heard = read_audio(path)
    except Exception as error:  # what a broken library raises is what is looked for
        return " ".join(str(error).split())[:120] or type(error).__name__
    return (
        "" if 0.4 < len(heard) / 16_000 < 0.6 and np.abs(heard).max() > 0.1 else "the sound came back changed"
    )


def _disk(topic: str, folder: Path, advice: str, *, little: float = _LITTLE) -> Check:
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        free = shutil.disk_usage(there).free
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"kdcompress")
            file.flush()
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        return Check(topic, "warn", f"cannot be written to: {reason}", advice)
    found = f"{free / 1e9:.1f} GB free, can be written to"
    return Check(topic, "warn" if free < little else "ok", found, advice if free < little else "")

"""What takes PyAV is read as exactly as the rest; without PyAV a line names the extra."""

import builtins
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from odd_audio import ffmpeg_seconds, noise, write_with_ffmpeg

from kdcompress.audio.decode import probe, read_audio, read_blocks
from kdcompress.audio.manifest import read_utterances
from kdcompress.audio.sniff import AV_SUFFIXES
from kdcompress.errors import AudioError

pytest.importorskip("av", reason="PyAV (the extra av) is not installed")

MADE: dict[str, tuple[str, int, bool]] = {
    "a.m4a": ("aac", 44_100, False),
    "b.m4a": ("alac", 16_000, False),
    "a.mp4": ("aac", 16_000, True),
    "a.mov": ("pcm_s16le", 16_000, False),
    "a.webm": ("libopus", 48_000, False),
    "a.mkv": ("aac", 48_000, True),
    "a.mka": ("flac", 16_000, False),
    "a.wma": ("wmav2", 22_050, False),
    "a.amr": ("libopencore_amrnb", 8000, False),
    "a.3gp": ("libopencore_amrnb", 8000, False),
    "a.aac": ("aac", 16_000, False),
    "a.avi": ("libmp3lame", 44_100, True),
    "a.ts": ("aac", 44_100, False),
    "a.flv": ("aac", 44_100, False),
    "a.wv": ("wavpack", 16_000, False),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("av")
    for name, (codec, rate, video) in MADE.items():
        write_with_ffmpeg(made / name, noise(21.5, rate), rate, codec, video=video)
    return made


@pytest.mark.parametrize("name", MADE)
def test_length_samples_and_stretches(folder: Path, name: str) -> None:
    rate = MADE[name][1]
    path = folder / name
    whole = read_audio(path, sample_rate=rate)
    assert probe(path).duration == pytest.approx(len(whole) / rate, abs=1e-6)
    assert len(whole) / rate == pytest.approx(ffmpeg_seconds(path), abs=1e-3)
    assert len(whole) / rate == pytest.approx(21.5, abs=0.15)
    for start in (0.0, 0.013, 3.0, 12.5, 20.9):
        first = round(start * rate)
        stretch = read_audio(path, start, 0.4, sample_rate=rate)
        # A codec that remembers may not be quite the same at once.
        np.testing.assert_allclose(stretch, whole[first : first + len(stretch)], atol=2e-3)
    pieces = np.concatenate(list(read_blocks(path, 1.7)))
    np.testing.assert_allclose(pieces, read_audio(path), atol=1e-6)


def test_two_channels(tmp_path: Path) -> None:
    left, right = noise(2, 48_000, 1), noise(2, 48_000, 2)
    write_with_ffmpeg(tmp_path / "a.mka", np.stack([left, right], axis=1), 48_000, "flac")
    for channel, truth in ((0, left), (1, right), (None, (left + right) / 2)):
        heard = read_audio(tmp_path / "a.mka", channel=channel, sample_rate=48_000)
        np.testing.assert_allclose(heard, truth, atol=1e-4)


def test_a_folder_has_them_too(folder: Path) -> None:
    utterances, bad = read_utterances(folder)
    assert not bad
    assert {u.audio.name for u in utterances} == set(MADE)
    assert {Path(name).suffix for name in MADE} <= set(AV_SUFFIXES)


def test_a_video_takes_no_id_from_the_recording_beside_it(tmp_path: Path) -> None:
    import soundfile

    soundfile.write(tmp_path / "x.wav", noise(1), 16_000)
    write_with_ffmpeg(tmp_path / "x.mp4", noise(1), 16_000, "aac")
    utterances, _ = read_utterances(tmp_path)
    assert {u.audio.name: u.id for u in utterances} == {"x.wav": "x", "x.mp4": "x.mp4"}


@pytest.mark.parametrize("name", ["a.m4a", "a.mov", "a.mka", "a.wma", "a.webm"])
def test_what_is_cut_short_says_so(folder: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes((folder / name).read_bytes()[: (folder / name).stat().st_size // 2])
    for read in (probe, read_audio):
        with pytest.raises(AudioError, match=r"damaged|cut short") as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_a_picture_without_sound_says_so(tmp_path: Path) -> None:
    import av

    with av.open(str(tmp_path / "a.mp4"), "w") as file:
        stream: Any = file.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for _ in range(5):
            file.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
        file.mux(stream.encode(None))
    with pytest.raises(AudioError, match="has no sound in it"):
        probe(tmp_path / "a.mp4")


def test_a_playlist_opens_nothing(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "a.mp4").write_text(f"#EXTM3U\n#EXTINF:10,\n{folder / 'a.ts'}\n#EXT-X-ENDLIST\n")
    with pytest.raises(AudioError, match="is not audio in a format that is read"):
        read_audio(tmp_path / "a.mp4")


def test_without_pyav_the_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    importing = builtins.__import__

    def without(name: str, variables: Mapping[str, object] | None = None, *rest: Any) -> Any:
        if name == "av":
            raise ImportError(name)
        return importing(name, variables, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    for name in MADE:
        with pytest.raises(AudioError, match=r"takes PyAV, .*: pip install 'kdcompress\[av\]'.* ffmpeg -i"):
            read_audio(folder / name)

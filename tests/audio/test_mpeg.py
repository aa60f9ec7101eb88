"""An MP3 is as long as its frames, whatever its header does not say and its tags add."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from odd_audio import ape_tag, bare, cover_art, ffmpeg_seconds, frames_of, mp3, noise, write_with_ffmpeg

from kdcompress.audio.decode import probe, read_audio, read_blocks
from kdcompress.errors import AudioError

SECONDS = 12
FRAME = 576 / 16_000  # [s] of MPEG 2


@pytest.fixture(scope="module")
def variable() -> bytes:
    return mp3(noise(SECONDS))


@pytest.fixture(scope="module")
def constant() -> bytes:
    return mp3(noise(SECONDS), mode="CONSTANT")


def save(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


ID3V1 = b"TAG" + bytes(125)
ODD = {
    "whole": lambda v, c: v,
    "variable bit rate, no count": lambda v, c: bare(v),
    "constant bit rate, no count": lambda v, c: bare(c),
    "cover art": lambda v, c: cover_art(1_000_000) + bare(c),
    "cover art and a count": lambda v, c: cover_art(100_000) + v + ID3V1,
    "an APE tag": lambda v, c: bare(c) + ape_tag(20_000),
    "both tags at the end": lambda v, c: v + ape_tag(300) + ID3V1,
    "zeros at the end": lambda v, c: bare(c) + bytes(50_000),
    "lyrics": lambda v, c: bare(v) + b"LYRICSBEGIN" + b"la" * 900 + b"001811LYRICS200" + ID3V1,
    "begins within a frame": lambda v, c: frames_of(bare(c))[0][100:] + bare(c),
    "ends within a frame": lambda v, c: bare(c)[:-100],
    "two bytes of the wrong size tag": lambda v, c: bare(v) + b"\xff\xfb",
}


@pytest.mark.parametrize("case", ODD)
def test_length_is_what_decoding_gives(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], variable: bytes, constant: bytes, case: str
) -> None:
    path = save(tmp_path / "a.mp3", ODD[case](variable, constant))
    waveform = read_audio(path)
    assert len(waveform) / 16_000 == pytest.approx(SECONDS, abs=3 * FRAME)
    assert probe(path).duration == pytest.approx(len(waveform) / 16_000, abs=1e-6)
    assert len(waveform) / 16_000 == pytest.approx(ffmpeg_seconds(path), abs=0.05)
    # The same sound, after what encoder and decoder put before it where no header says how much that is.
    loud = read_audio(save(tmp_path / "whole.mp3", variable))[16_000:64_000]
    late = 0 if read_audio(path)[:1000].std() > 0.05 else 576 + 529
    assert np.corrcoef(loud, waveform[16_000 + late :][:48_000])[0, 1] > 0.8
    pieces = list(read_blocks(path, 1.0))
    np.testing.assert_allclose(np.concatenate(pieces), waveform, atol=1e-6)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("rate", [8000, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize(("mode", "level"), [("VARIABLE", 0.95), ("CONSTANT", 0.99), ("CONSTANT", 0.3)])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_stretch_is_what_the_whole_has_there(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], rate: int, mode: str, level: float, channels: int
) -> None:
    # At the lowest bit rates a frame borrows bits from a dozen before it.
    samples = np.stack([noise(6, rate, seed) for seed in range(channels)], axis=1)
    path = tmp_path / "a.mp3"
    soundfile.write(
        path,
        samples,
        rate,
        format="MP3",
        subtype="MPEG_LAYER_III",
        bitrate_mode=mode,
        compression_level=level,
    )
    whole = read_audio(path, sample_rate=rate)
    for first in (1, 1000, rate, 2 * rate + 77, 5 * rate):
        stretch = read_audio(path, first / rate, 0.5, sample_rate=rate)
        np.testing.assert_allclose(stretch, whole[first : first + len(stretch)], atol=1e-6)
    assert capfd.readouterr() == ("", "")


def test_a_count_that_is_not_true_is_not_believed(tmp_path: Path, variable: bytes) -> None:
    frames = frames_of(variable)
    more = save(tmp_path / "more.mp3", variable + b"".join(frames[1:101]))
    assert probe(more).duration == pytest.approx(SECONDS + 100 * FRAME, abs=0.001)
    assert len(read_audio(more)) / 16_000 == pytest.approx(SECONDS + 100 * FRAME, abs=0.001)
    fewer = save(tmp_path / "fewer.mp3", b"".join(frames[:-100]))
    for read in (probe, read_audio):
        with pytest.raises(AudioError, match=r"cut short: its header promises 12\.096 s, it has .* 8\.496 s"):
            read(fewer)


def test_joined_recordings_are_all_there(tmp_path: Path, variable: bytes) -> None:
    first, second = mp3(noise(3, seed=1)), mp3(noise(4.5, seed=2))
    one, two = (read_audio(save(tmp_path / f"{n}.mp3", d)) for n, d in enumerate((first, second)))
    for between in (b"", ID3V1[:0] + cover_art(4000)):
        path = save(tmp_path / "joined.mp3", first + between + second)
        assert probe(path).duration == pytest.approx(7.5, abs=1e-6)
        np.testing.assert_allclose(read_audio(path), np.concatenate([one, two]), atol=1e-6)
        np.testing.assert_allclose(
            read_audio(path, 2.75, 0.5), np.concatenate([one[44_000:], two[:4000]]), atol=1e-6
        )
    other = save(tmp_path / "rates.mp3", first + mp3(noise(3, 44_100), 44_100))
    with pytest.raises(AudioError, match=r"joined of recordings with 16000 Hz and 44100 Hz; make it one"):
        probe(other)


def test_layer_two_is_the_sample_that_ffmpeg_has(tmp_path: Path) -> None:
    av = pytest.importorskip("av", reason="PyAV (the extra av) is not installed")
    path = tmp_path / "a.mp2"
    write_with_ffmpeg(path, noise(2), 16_000, "mp2", "mp2")
    with av.open(str(path)) as file:
        frames = [frame.to_ndarray().ravel() for frame in file.decode(audio=0)]
    waveform = read_audio(path)
    np.testing.assert_allclose(waveform, np.concatenate(frames) / 32768, atol=1e-4)
    np.testing.assert_allclose(read_audio(path, 1.5, 0.25), waveform[24_000:28_000], atol=1e-6)


def test_a_hole_is_named(tmp_path: Path, constant: bytes) -> None:
    frames = frames_of(bare(constant))
    path = save(
        tmp_path / "a.mp3", b"".join(frames[:100]) + bytes(range(1, 200)) * 9 + b"".join(frames[100:])
    )
    with pytest.raises(AudioError, match=r"damaged after 3\.600 s: 1791 bytes there are no MP3 frames"):
        read_audio(path)
    path.write_bytes(b"".join(frames[:2]) + bytes(500) + b"".join(frames[5:]))
    with pytest.raises(AudioError, match=r"damaged after 0\.000 s"):  # too few to be known by their like
        read_audio(path)
    with pytest.raises(AudioError, match="holds no MP3 frames"):
        read_audio(save(tmp_path / "b.mp3", b"\xff\xfb" + bytes(1000)))

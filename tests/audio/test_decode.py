"""Every format, rate and channel count becomes the same mono waveform; every defect one clear error."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from kdcompress.audio.decode import check_stretch, probe, read_audio, read_blocks
from kdcompress.audio.sniff import AUDIO_SUFFIXES
from kdcompress.audio.utterance import SAMPLE_RATE
from kdcompress.errors import AudioError

FORMATS = {
    ".wav": ("WAV", "PCM_16"),
    ".flac": ("FLAC", "PCM_16"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
    ".ogg": ("OGG", "VORBIS"),
    ".opus": ("OGG", "OPUS"),
}


def tones(seconds: float, rate: int) -> npt.NDArray[np.float32]:
    """400 Hz, then 1200 Hz: a stretch is told by its pitch."""
    time = np.arange(round(seconds * rate)) / rate
    hz = np.where(time < seconds / 2, 400.0, 1200.0)
    return (0.3 * np.sin(2 * np.pi * hz * time)).astype(np.float32)


def write(path: Path, samples: npt.NDArray[np.float32], rate: int) -> Path:
    container, subtype = FORMATS[path.suffix]
    soundfile.write(path, samples, rate, format=container, subtype=subtype)
    return path


def pitch(waveform: npt.NDArray[np.float32], rate: int = SAMPLE_RATE) -> float:
    spectrum = np.abs(np.fft.rfft(waveform))
    return float(spectrum.argmax() * rate / len(waveform))


def test_every_suffix_is_tested() -> None:
    assert set(FORMATS) == set(AUDIO_SUFFIXES)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (16_000, 2), (44_100, 2), (48_000, 1)])
def test_any_format_rate_and_channels(tmp_path: Path, suffix: str, rate: int, channels: int) -> None:
    if suffix == ".opus" and rate == 44_100:
        pytest.skip("Opus has no 44.1 kHz")
    signal = tones(1.0, rate)
    path = write(tmp_path / f"a{suffix}", np.stack([signal] * channels, axis=1), rate)
    found = probe(path)
    assert (found.sample_rate, found.channels) == (rate, channels)
    assert found.duration == pytest.approx(1.0, abs=1e-3)
    waveform = read_audio(path)
    assert waveform.dtype == np.float32
    assert waveform.ndim == 1
    assert len(waveform) == pytest.approx(SAMPLE_RATE, abs=16)
    # Lossy codecs smear the last block over what follows, which is nothing.
    np.testing.assert_allclose(waveform[:-500], tones(1.0, SAMPLE_RATE)[: len(waveform)][:-500], atol=0.15)
    # A stretch of the second half: the seek went to the right place.
    stretch = read_audio(path, 0.6, 0.25)
    assert len(stretch) == SAMPLE_RATE // 4
    np.testing.assert_allclose(stretch[200:-200], waveform[9600:13600][200:-200], atol=0.02)
    assert pitch(stretch) == pytest.approx(1200, abs=8)


def test_channels_are_averaged(tmp_path: Path) -> None:
    left = tones(0.5, 16_000)
    path = write(tmp_path / "a.wav", np.stack([left, -0.5 * left], axis=1), 16_000)
    np.testing.assert_allclose(read_audio(path), 0.25 * left, atol=1e-4)


def test_resampling_removes_what_16_khz_cannot_hold(tmp_path: Path) -> None:
    high = (0.3 * np.sin(2 * np.pi * 12_000 * np.arange(48_000) / 48_000)).astype(np.float32)
    path = write(tmp_path / "a.wav", high, 48_000)
    assert np.abs(read_audio(path)[500:-500]).max() < 1e-3


def test_another_rate_on_request(tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac", tones(1.0, 16_000), 16_000)
    assert len(read_audio(path, sample_rate=8000)) == 8000


@given(
    start=st.floats(0, 1.9, allow_nan=False),
    duration=st.floats(0.001, 2.0, allow_nan=False),
)
def test_stretches_are_slices(
    tmp_path_factory: pytest.TempPathFactory, start: float, duration: float
) -> None:
    path = tmp_path_factory.getbasetemp() / "slices.wav"
    if not path.exists():
        write(path, tones(2.0, 16_000), 16_000)
    whole = read_audio(path)
    if start + duration > 2.05:
        with pytest.raises(AudioError, match=r"lasts 2\.000 s: cannot read from"):
            read_audio(path, start, duration)
        return
    stretch = read_audio(path, start, duration)
    first = round(start * 16_000)
    np.testing.assert_array_equal(stretch, whole[first : first + len(stretch)])
    assert abs(len(stretch) - min(duration, 2.0 - start) * 16_000) <= 1


def test_rounded_durations_are_forgiven() -> None:
    path = Path("a.wav")
    assert check_stretch(path, 2.0, 0.5, None) == 1.5
    assert check_stretch(path, 2.0, 0.5, 1.54) == 1.5
    for start, duration in [(0.5, 1.56), (2.0, None), (2.0, 0.04), (-0.1, 1.0), (0.0, 0.0)]:
        with pytest.raises(AudioError, match=r"a\.wav lasts 2\.000 s"):
            check_stretch(path, 2.0, start, duration)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"^no such audio file: .*nothing\.wav$"):
        read_audio(tmp_path / "nothing.wav")


def test_folder(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="is a folder, expected an audio file"):
        read_audio(tmp_path)


@pytest.mark.parametrize("suffix", FORMATS)
def test_text_named_like_audio(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_text("one two three\n" * 50)
    for read in (probe, read_audio):
        with pytest.raises(
            AudioError, match=r"not audio in a format that is read \(wav, flac, mp3"
        ) as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_no_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.touch()
    with pytest.raises(AudioError, match=r"a\.wav is empty \(0 bytes\)"):
        probe(path)


@pytest.mark.parametrize("suffix", [".wav", ".ogg"])
def test_no_samples(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"a{suffix}", np.zeros(0, np.float32), 16_000)
    for read in (probe, read_audio):
        with pytest.raises(AudioError, match="holds no samples"):
            read(path)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_cut_short(tmp_path: Path, suffix: str, share: float) -> None:
    rng = np.random.default_rng(0)
    path = write(tmp_path / f"a{suffix}", 0.1 * rng.standard_normal(32_000).astype(np.float32), 16_000)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(AudioError, match=r"cut short.*its header promises"):
        read_audio(path)


def test_a_wav_from_a_pipe_is_whole(tmp_path: Path) -> None:
    # Who writes to a pipe cannot go back to fill in the sizes.
    path = write(tmp_path / "a.wav", tones(0.5, 16_000), 16_000)
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    assert len(read_audio(path)) == 8000


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_no_numbers(tmp_path: Path, value: float) -> None:
    samples = tones(1.0, 16_000)
    samples[4000] = value
    soundfile.write(tmp_path / "a.wav", samples, 16_000, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"a sample that is not a number, at 0\.250 s"):
        read_audio(tmp_path / "a.wav")


def test_raw_samples_have_no_header(tmp_path: Path) -> None:
    path = tmp_path / "a.raw"
    path.write_bytes(bytes(100))
    with pytest.raises(AudioError, match="not audio in a format that is read"):
        read_audio(path)


def test_too_few_samples_to_resample(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", np.ones(1, np.float32), 48_000)
    with pytest.raises(AudioError, match="too few"):
        read_audio(path)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize(("rate", "channels"), [(8000, 2), (16_000, 1), (48_000, 1)])
def test_piece_by_piece_is_the_whole(tmp_path: Path, suffix: str, rate: int, channels: int) -> None:
    signal = tones(1.37, rate)
    path = write(tmp_path / f"a{suffix}", np.stack([signal] * channels, axis=1), rate)
    whole = read_audio(path)
    for seconds in (0.1, 0.33, 10.0):
        pieces = list(read_blocks(path, seconds))
        assert all(piece.dtype == np.float32 and len(piece) for piece in pieces)
        assert max(map(len, pieces)) < (seconds + 0.2) * SAMPLE_RATE
        np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-6)


def test_a_stretch_of_an_mp3_is_what_the_whole_has_there(tmp_path: Path) -> None:
    # Frames of MP3 borrow bits from earlier ones: noise needs them all.
    noise = np.random.default_rng(0).normal(0, 0.1, 96_000).astype(np.float32)
    path = write(tmp_path / "a.mp3", noise, 16_000)
    whole = read_audio(path)
    for start in (1.0, 2.5, 4.0):
        first = round(start * 16_000)
        np.testing.assert_allclose(read_audio(path, start, 0.5), whole[first : first + 8000], atol=1e-6)
    np.testing.assert_allclose(np.concatenate(list(read_blocks(path, 1.0))), whole, atol=1e-6)


def test_piece_by_piece_finds_the_same_defects(tmp_path: Path) -> None:
    samples = tones(1.0, 16_000)
    samples[12_000] = np.nan
    soundfile.write(tmp_path / "a.wav", samples, 16_000, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"not a number, at 0\.750 s"):
        list(read_blocks(tmp_path / "a.wav", 0.2))
    path = write(tmp_path / "b.flac", tones(2.0, 16_000), 16_000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(AudioError, match="cut short") as whole:
        read_audio(path)
    with pytest.raises(AudioError, match="cut short") as pieces:
        list(read_blocks(path, 0.2))
    assert str(whole.value).partition(" (")[0].partition(":")[0] in str(pieces.value)
    with pytest.raises(AudioError, match="no such audio file"):
        list(read_blocks(tmp_path / "none.wav"))

"""What cannot be sought in is played from the beginning; what is several recordings is heard whole."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from odd_audio import cover_art, encoded, noise

from kdcompress.audio.decode import probe, read_audio, read_blocks
from kdcompress.errors import AudioError


@pytest.mark.parametrize(
    "subtype", ["GSM610", "G721_32", "NMS_ADPCM_16", "NMS_ADPCM_32", "IMA_ADPCM", "ULAW"]
)
def test_telephony_is_read_whole_and_in_stretches(tmp_path: Path, subtype: str) -> None:
    path = tmp_path / "call.WAV"
    soundfile.write(path, noise(24, 8000), 8000, format="WAV", subtype=subtype)
    with soundfile.SoundFile(path) as file:
        truth = file.read(file.frames, dtype="float32")
    assert probe(path).duration == len(truth) / 8000 == pytest.approx(24, abs=0.1)
    np.testing.assert_array_equal(read_audio(path, sample_rate=8000), truth)
    for first, count in ((1, 500), (80_001, 4000), (190_000, 2000)):
        stretch = read_audio(path, first / 8000, count / 8000, sample_rate=8000)
        np.testing.assert_array_equal(stretch, truth[first : first + count])
    np.testing.assert_allclose(np.concatenate(list(read_blocks(path))), read_audio(path), atol=1e-6)


JOINABLE = [
    ("FLAC", "PCM_16", ".flac"),
    ("OGG", "VORBIS", ".ogg"),
    ("OGG", "OPUS", ".opus"),
    ("WAV", "PCM_16", ".wav"),
    ("WAV", "GSM610", ".wav"),
]


@pytest.mark.parametrize(("container", "subtype", "suffix"), JOINABLE)
def test_joined_recordings_are_heard_whole(tmp_path: Path, container: str, subtype: str, suffix: str) -> None:
    # The last is as long as the first: nothing at the file's end betrays it.
    parts = [encoded(noise(s, 8000, i), 8000, container, subtype) for i, s in enumerate((1, 2.5, 1))]
    alone = []
    for part in parts:
        (tmp_path / f"part{suffix}").write_bytes(part)
        alone.append(read_audio(tmp_path / f"part{suffix}", sample_rate=8000))
    path = tmp_path / f"joined{suffix}"
    path.write_bytes(b"".join(parts))
    truth = np.concatenate(alone)
    assert probe(path).duration == len(truth) / 8000
    np.testing.assert_array_equal(read_audio(path, sample_rate=8000), truth)
    np.testing.assert_allclose(read_audio(path, 0.5, 1.5, sample_rate=8000), truth[4000:16_000], atol=1e-4)
    assert sum(map(len, read_blocks(path))) == pytest.approx(2 * len(truth), abs=2)
    path.write_bytes(parts[0] * 2)
    assert probe(path).duration == 2 * len(alone[0]) / 8000


@pytest.mark.parametrize(("container", "subtype", "suffix"), JOINABLE[:4])
def test_joined_recordings_that_differ_are_refused(
    tmp_path: Path, container: str, subtype: str, suffix: str
) -> None:
    path = tmp_path / f"joined{suffix}"
    path.write_bytes(
        encoded(noise(1, 8000), 8000, container, subtype)
        + encoded(noise(1, 48_000), 48_000, container, subtype)
    )
    for read in (probe, read_audio):
        with pytest.raises(
            AudioError, match=r"joined of recordings that differ .*8000 Hz.* and 48000 Hz"
        ) as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_what_follows_a_recording_and_is_none_is_left_alone(tmp_path: Path) -> None:
    for suffix, (container, subtype) in {".wav": ("WAV", "PCM_16"), ".flac": ("FLAC", "PCM_16")}.items():
        path = tmp_path / f"a{suffix}"
        path.write_bytes(encoded(noise(1), 16_000, container, subtype) + b"TAG" + bytes(125))
        assert len(read_audio(path)) == 16_000


def test_a_tag_before_a_recording_makes_no_mp3_of_it(tmp_path: Path) -> None:
    for container in ("WAV", "FLAC"):
        path = tmp_path / "a.wav"
        path.write_bytes(cover_art(5000) + encoded(noise(1), 16_000, container, "PCM_16"))
        assert probe(path).duration == 1
        assert len(read_audio(path)) == 16_000


@pytest.mark.parametrize("subtype", ["MS_ADPCM", "IMA_ADPCM"])
def test_blocks_out_of_step_are_refused(tmp_path: Path, subtype: str) -> None:
    path = tmp_path / "a.wav"
    data = encoded(noise(2, 8000), 8000, "WAV", subtype)
    path.write_bytes(data)
    assert len(read_audio(path, sample_rate=8000)) == pytest.approx(16_000, abs=600)
    path.write_bytes(data[:2001] + bytes(range(100, 107)) + data[2001:])
    with pytest.raises(AudioError, match=f"not all {subtype} blocks begin as they should"):
        read_audio(path)


def test_a_joined_recording_from_pipes_is_heard_whole(tmp_path: Path) -> None:
    part = bytearray(encoded(noise(1), 16_000, "WAV", "PCM_16"))
    part[4:8] = part[40:44] = b"\xff\xff\xff\xff"
    (tmp_path / "a.wav").write_bytes(bytes(part))
    assert len(read_audio(tmp_path / "a.wav")) == 16_000
    (tmp_path / "b.wav").write_bytes(bytes(part) * 2)
    assert len(read_audio(tmp_path / "b.wav")) == 32_000


def test_a_flac_from_a_pipe_is_as_long_as_it_is(tmp_path: Path) -> None:
    content = bytearray(encoded(noise(3), 16_000, "FLAC", "PCM_16"))
    content[21] &= 0xF0  # 36 bits of STREAMINFO hold the number of samples
    content[22:26] = bytes(4)
    path = tmp_path / "a.flac"
    path.write_bytes(content)
    assert probe(path).duration == 3.0
    assert len(read_audio(path)) == 48_000
    assert len(read_audio(path, 1.0, 0.5)) == 8000
    assert sum(map(len, read_blocks(path, 0.7))) == 48_000
    with pytest.raises(AudioError, match=r"lasts 3\.000 s: cannot read"):
        read_audio(path, 2.9, 0.5)


def test_one_channel_or_another(tmp_path: Path) -> None:
    left, right = noise(1, seed=1), noise(1, seed=2)
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack([left, right], axis=1), 16_000, subtype="FLOAT")
    for channel, truth in ((0, left), (1, right), (None, (left + right) / 2)):
        np.testing.assert_allclose(read_audio(path, channel=channel), truth, atol=1e-7)
        np.testing.assert_allclose(
            np.concatenate(list(read_blocks(path, 0.3, channel=channel))), truth, atol=1e-7
        )
    for channel in (2, -1):
        with pytest.raises(AudioError, match=r"has no channel -?\d: it has 2, counted from 0"):
            read_audio(path, channel=channel)


@pytest.mark.parametrize(
    ("subtype", "suffix"), [("PCM_16", ".wav"), ("MPEG_LAYER_III", ".mp3"), ("OPUS", ".opus")]
)
def test_channels_that_cancel_out_are_noticed(tmp_path: Path, subtype: str, suffix: str) -> None:
    container = {".wav": "WAV", ".mp3": "MP3", ".opus": "OGG"}[suffix]
    one = noise(2)
    path = tmp_path / f"a{suffix}"
    soundfile.write(path, np.stack([one, -one], axis=1), 16_000, format=container, subtype=subtype)
    with pytest.raises(AudioError, match=r"the channels of .* cancel out .* choose one \(--channels 0"):
        read_audio(path)
    with pytest.raises(AudioError, match="cancel out"):
        list(read_blocks(path))
    assert len(read_audio(path, channel=0)) == 32_000
    # One channel that is silent, or both, are no such case.
    for other in (0 * one, noise(2, seed=5), one):
        soundfile.write(path, np.stack([one, other], axis=1), 16_000, format=container, subtype=subtype)
        assert len(read_audio(path)) == 32_000
    soundfile.write(path, np.zeros((32_000, 2)), 16_000, format=container, subtype=subtype)
    assert len(read_audio(path)) == 32_000

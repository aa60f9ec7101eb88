"""Makers of files that are sound and odd: no headers, tags, several recordings in one."""

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from kdcompress.audio.mpeg_frames import id3v2_length, parse_header


def noise(seconds: float, rate: int = 16_000, seed: int = 0) -> npt.NDArray[np.float32]:
    """Return noise of which the second half is faint, so that a variable bit rate falls."""
    samples = np.random.default_rng(seed).normal(0, 0.1, round(seconds * rate))
    samples[len(samples) // 2 :] *= 1e-3
    return samples.astype(np.float32)


def encoded(samples: npt.NDArray[np.float32], rate: int, container: str, subtype: str, **how: Any) -> bytes:
    """Return the bytes of a file that libsndfile writes."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=container, subtype=subtype, **how)
    return file.getvalue()


def mp3(samples: npt.NDArray[np.float32], rate: int = 16_000, mode: str = "VARIABLE") -> bytes:
    """Return an MP3 that begins with a frame that counts the others."""
    how = {"bitrate_mode": mode, "compression_level": 0.5}
    return encoded(samples, rate, "MP3", "MPEG_LAYER_III", **how)


def frames_of(data: bytes) -> list[bytes]:
    """Take an MP3 of nothing but frames apart."""
    found, at = [], id3v2_length(data)
    while (header := parse_header(data[at : at + 4])) is not None:
        found.append(data[at : at + header.size])
        at += header.size
    return found


def bare(data: bytes) -> bytes:
    """Return an MP3 without the frame that counts the others."""
    return b"".join(frames_of(data)[1:])


def cover_art(size: int) -> bytes:
    """Return an ID3v2.3 tag with a picture, in which bytes look like frames."""
    picture = b"\0\0\0image/jpeg\0\3\0" + b"\xff\xfb\x90\x44" * (size // 4)
    body = b"APIC" + len(picture).to_bytes(4, "big") + b"\0\0" + picture
    return b"ID3\3\0\0" + bytes(len(body) >> shift & 127 for shift in (21, 14, 7, 0)) + body


def ape_tag(size: int) -> bytes:
    """Return an APE tag without a header of its own."""
    footer = b"APETAGEX" + (2000).to_bytes(4, "little") + (size + 32).to_bytes(4, "little") + bytes(16)
    return bytes(size) + footer


def write_with_ffmpeg(
    path: Path,
    samples: npt.NDArray[np.float32],
    rate: int,
    codec: str,
    container: str | None = None,
    *,
    video: bool = False,
) -> None:
    """Write samples [S] or [S, channels] by PyAV, beside a small picture that moves if asked for."""
    import av

    layout = "mono" if samples.ndim == 1 else "stereo"
    with av.open(str(path), "w", format=container) as file:
        stream: Any = file.add_stream(codec, rate=rate)
        stream.layout = layout
        if codec == "wmav2":
            stream.bit_rate = 64_000
        if video:
            picture: Any = file.add_stream("mpeg4", rate=10)
            picture.width, picture.height, picture.pix_fmt = 64, 64, "yuv420p"
        whole = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(np.atleast_2d(samples.T)), format="fltp", layout=layout
        )
        whole.sample_rate = rate
        converted = av.AudioResampler(format=stream.codec_context.format, layout=layout, rate=rate)
        queue = av.AudioFifo()
        for frame in converted.resample(whole):
            queue.write(frame)
        size = stream.codec_context.frame_size or 1024
        if video:
            for index in range(int(len(samples) / rate * 10)):
                grey = np.full((64, 64, 3), index % 255, np.uint8)
                shown = av.VideoFrame.from_ndarray(grey, format="rgb24")
                shown.pts, shown.time_base = index, Fraction(1, 10)
                file.mux(picture.encode(shown))
            file.mux(picture.encode(None))
        while (frame := queue.read(size, partial=True)) is not None:
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


def ffmpeg_seconds(path: Path) -> float:
    """Return how long FFmpeg finds a file to be, by decoding it; what it cannot decode it leaves out."""
    import av

    seconds = 0.0
    with av.open(str(path)) as file:
        for packet in file.demux(audio=0):
            try:
                seconds += sum(frame.samples / frame.sample_rate for frame in packet.decode())
            except av.InvalidDataError:
                continue
    return seconds

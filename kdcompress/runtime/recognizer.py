"""Audio in, text out: what an application uses.

B batch, S samples, T feature frames, F mel bands, T' output frames, V vocabulary.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import soxr

from kdcompress.audio.decode import read_audio
from kdcompress.audio.utterance import SAMPLE_RATE
from kdcompress.errors import AudioError, BundleError
from kdcompress.frontend.logmel_numpy import BANDS, Normalize, log_mel
from kdcompress.runtime.bundle import Bundle, open_bundle
from kdcompress.runtime.session import Provider, Session
from kdcompress.runtime.transcript import Timings, Transcript
from kdcompress.text.decode import greedy

Samples: TypeAlias = npt.NDArray[np.floating[Any]] | npt.NDArray[np.integer[Any]]
Audio: TypeAlias = str | Path | Samples
FloatArray: TypeAlias = npt.NDArray[np.float32]

# Attention needs memory that grows with the square of the frames: 15 000 (10 minutes at 40 ms) make it
# about 0.9 GB per head.
LONGEST_FRAMES = 15_000


class Recognizer:
    """A bundle's student, loaded and ready.

    Attributes:
        bundle: what it was made from.
        variant: the one that was chosen.
        session: the loaded graph.

    Raises:
        BundleError: the bundle is unusable, or has no such variant, or wants other features than log-mel.
        ConfigError: the provider is not available, or threads is below 1.
    """

    def __init__(
        self,
        bundle: Path | str | Bundle,
        variant: str | None = None,
        provider: Provider = "cpu",
        threads: int | None = None,
    ) -> None:
        """Load a bundle.

        Args:
            bundle: its directory.
            variant: `fp32`, `int8-dynamic`, …; None takes auto, int8-dynamic or fp32, the first there is.
            provider: where the graph runs.
            threads: for the graph; None takes every core that the process may use.
        """
        self.bundle = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
        self.variant = self.bundle.variant(variant)
        self._normalize = _normalization(self.bundle)
        self.session = Session(self.bundle.path(self.variant), provider, threads)

    def __repr__(self) -> str:
        return f"Recognizer({str(self.bundle.directory)!r}, {self.variant.name}, {self.session.provider})"

    @property
    def longest(self) -> float:
        """The longest audio that is accepted [s]."""
        return LONGEST_FRAMES * self.bundle.frame_shift

    def transcribe(self, audio: Audio, sample_rate: int = SAMPLE_RATE) -> Transcript:
        """Turn one recording into text.

        Silence and audio shorter than a frame give an empty transcript.

        Args:
            audio: a file, or samples [S] or [S, channels], floats within ±1 or integers of full scale.
            sample_rate: of the samples [Hz]; ignored for a file, which says so itself.

        Raises:
            AudioError: the audio cannot be read, is longer than `longest` or holds NaN.
            NumericsError: the graph answered with NaN.
        """
        return self.transcribe_batch([audio], sample_rate)[0]

    def transcribe_batch(self, audios: Sequence[Audio], sample_rate: int = SAMPLE_RATE) -> list[Transcript]:
        """Turn several recordings into text in one run of the graph, padded to the longest of them.

        Args:
            audios: as for `transcribe`.
            sample_rate: of those that are samples [Hz].

        Raises:
            AudioError: one of them cannot be read, is longer than `longest` or holds NaN.
            NumericsError: the graph answered with NaN.
        """
        waveforms, reading, features, computing = [], [], [], []
        for audio in audios:
            begin = time.perf_counter()
            waveforms.append(self._waveform(audio, sample_rate))
            read = time.perf_counter()
            features.append(log_mel(waveforms[-1], normalize=self._normalize))
            reading.append(read - begin)
            computing.append(time.perf_counter() - read)

        begin = time.perf_counter()
        posteriors = self.log_probs(features)
        share = (time.perf_counter() - begin) / max(len(audios), 1)

        vocabulary, frame_shift = self.bundle.vocabulary, self.bundle.frame_shift
        transcripts = []
        for row, log_probs in enumerate(posteriors):
            begin = time.perf_counter()
            hypothesis = greedy(log_probs, vocabulary)
            text = hypothesis.text(vocabulary)
            tokens = tuple(hypothesis.tokens(vocabulary, frame_shift))
            words = tuple(hypothesis.words(vocabulary, frame_shift))
            timings = Timings(reading[row], computing[row], share, time.perf_counter() - begin)
            transcripts.append(Transcript(text, tokens, words, len(waveforms[row]) / SAMPLE_RATE, timings))
        return transcripts

    def log_probs(self, features: Sequence[FloatArray]) -> list[FloatArray]:
        """Run the graph once on features [T, F] each; returns log posteriors [T', V] each."""
        padded, lengths = pad(features)
        empty = np.empty((0, len(self.bundle.vocabulary)), np.float32)
        if not lengths.any():  # nothing as long as one frame: the graph need not be asked
            return [empty for _ in features]
        log_probs, frames = self.session.run(padded, lengths)
        # A row without a frame may get anything; it is not looked at.
        return [
            row[:count] if length else empty
            for row, count, length in zip(log_probs, frames, lengths, strict=True)
        ]

    def _waveform(self, audio: Audio, sample_rate: int) -> FloatArray:
        if isinstance(audio, str | Path):
            samples, name = read_audio(Path(audio)), str(audio)
        else:
            samples, name = _to_mono(audio, sample_rate), "the audio"
        seconds = len(samples) / SAMPLE_RATE
        if seconds > self.longest:
            raise AudioError(
                f"{name} lasts {seconds:.0f} s, at most {self.longest:.0f} s go into a run: cut it at pauses"
            )
        return samples


def pad(features: Sequence[FloatArray]) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    """Stack features [T, F] with zeros after their ends; returns [B, max T, F] and lengths [B]."""
    lengths = np.array([len(f) for f in features], np.int64)
    if len(features) == 1:
        return features[0][None], lengths
    padded = np.zeros((len(features), int(lengths.max(initial=0)), BANDS), np.float32)
    for row, values in zip(padded, features, strict=True):
        row[: len(values)] = values
    return padded, lengths


def _normalization(bundle: Bundle) -> Normalize:
    frontend = bundle.frontend
    wanted = (bundle.input, frontend.kind, frontend.mel_bins, bundle.sample_rate)
    if wanted != ("features", "logmel", BANDS, SAMPLE_RATE):
        raise BundleError(
            f"{bundle.directory} wants {bundle.input}: {frontend.mel_bins} bands of {frontend.kind} at "
            f"{bundle.sample_rate} Hz; this version computes {BANDS} bands of logmel at {SAMPLE_RATE} Hz: "
            "update kdcompress"
        )
    if frontend.normalize == "per_feature":
        return "per_feature"
    if frontend.normalize == "none":
        return "none"
    raise BundleError(f"{bundle.directory} wants the normalisation {frontend.normalize!r}: update kdcompress")


def _to_mono(samples: Samples, sample_rate: int) -> FloatArray:
    array = np.asarray(samples)
    if array.ndim not in {1, 2} or (array.ndim == 2 and array.shape[1] > max(array.shape[0], 1)):
        raise AudioError(f"expected samples [S] or [S, channels], found shape {list(array.shape)}")
    if sample_rate < 1:
        raise AudioError(f"sample_rate must be above 0 Hz, found {sample_rate}")
    if array.dtype.kind == "i":
        array = array / np.float32(2 ** (8 * array.dtype.itemsize - 1))
    elif array.dtype.kind != "f":
        raise AudioError(f"expected floats or signed integers, found {array.dtype}")
    mono = (array if array.ndim == 1 else array.mean(axis=1)).astype(np.float32, copy=False)
    if not np.isfinite(mono).all():
        raise AudioError("the audio holds samples that are not numbers")
    if sample_rate != SAMPLE_RATE and len(mono):
        mono = soxr.resample(mono, sample_rate, SAMPLE_RATE, quality="HQ")
    return np.ascontiguousarray(mono)

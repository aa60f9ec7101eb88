"""Which features a bundle's graph is fed, chosen by what bundle.json says.

S samples, T feature frames, F mel bands.
"""

from collections.abc import Callable
from typing import TypeAlias

from kdcompress.aliases import FloatArray
from kdcompress.audio.decode import resampled
from kdcompress.audio.utterance import SAMPLE_RATE
from kdcompress.errors import BundleError
from kdcompress.frontend.fbank_numpy import fbank
from kdcompress.frontend.logmel_numpy import BANDS, Normalize, log_mel
from kdcompress.runtime.bundle import Bundle
from kdcompress.runtime.layout import hops

TELEPHONE_RATE = 8000  # [Hz]

Features: TypeAlias = Callable[[FloatArray], FloatArray]
"""Maps a waveform [S] at 16 kHz to what the graph is fed: features [T, F], or hops of samples [T, 160]."""


def features_for(bundle: Bundle, *, chunked: bool = False) -> Features:
    """Return what computes the graph's input.

    Args:
        chunked: the graph takes chunks: its features are those that sherpa-onnx's online recogniser computes.

    Raises:
        BundleError: the bundle wants features that this version does not compute.
    """
    frontend = bundle.frontend
    if bundle.input == "waveform" and bundle.sample_rate == SAMPLE_RATE:
        return hops
    wanted = (frontend.kind, frontend.mel_bins, bundle.sample_rate)
    normalize = _normalization(bundle)
    if bundle.input == "features" and wanted == ("logmel", BANDS, SAMPLE_RATE):
        return lambda waveform: log_mel(waveform, normalize=normalize, floored=chunked)
    if bundle.input == "features" and (*wanted, normalize) == ("kaldi", BANDS, SAMPLE_RATE, "none"):
        return fbank
    if bundle.input == "waveform" and bundle.sample_rate == TELEPHONE_RATE:
        return telephone_hops
    raise BundleError(
        f"{bundle.directory} wants {bundle.input}: {frontend.mel_bins} bands of {frontend.kind} at "
        f"{bundle.sample_rate} Hz; this version computes {BANDS} bands of logmel or kaldi at "
        f"{SAMPLE_RATE} Hz: update kdcompress"
    )


def telephone_hops(waveform: FloatArray) -> FloatArray:
    """Bring a waveform [S] from 16 to 8 kHz, in hops of 10 ms [T, 80]."""
    return hops(resampled(waveform, SAMPLE_RATE, TELEPHONE_RATE), TELEPHONE_RATE // 100)


def _normalization(bundle: Bundle) -> Normalize:
    if bundle.frontend.normalize == "per_feature":
        return "per_feature"
    if bundle.frontend.normalize == "none":
        return "none"
    raise BundleError(
        f"{bundle.directory} wants the normalisation {bundle.frontend.normalize!r}: update kdcompress"
    )

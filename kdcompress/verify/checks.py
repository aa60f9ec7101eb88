"""What our own runtime can find out about a variant: lengths, padding, and its self-test.

B batch, S samples, T feature frames, T' output frames, V vocabulary.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from kdcompress.audio.decode import read_audio
from kdcompress.errors import KdcompressError
from kdcompress.runtime.bundle import FP32
from kdcompress.runtime.layout import frame_counts
from kdcompress.runtime.recognizer import Recognizer
from kdcompress.verify.selftest import AUDIO, RECORD
from kdcompress.verify.sound import synthetic_waveform

SECONDS = (0.1, 0.45, 3.33, 10.21)
"""Run alone and together; in hops of 10 ms none but the first is a multiple of 2, 4 or 8."""
LONGEST_SECONDS = 60.01

# As against torch, see `parity`: alone and in a batch, products are summed in another order.
_ABSOLUTE, _RELATIVE = {"features": 1e-3, "waveform": 5e-3}, 1e-4


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        what: `lengths`, `padding`, `selftest`, `silence`, or the name of a runtime.
        passed: None where it could not be looked at; `detail` says why.
        same: of a runtime, the share of recordings with our transcript; of `silence`, with that without it.
        difference: the edits per character of these.
        version: of a runtime.
    """

    what: str
    variant: str
    passed: bool | None
    detail: str
    same: float | None = None
    difference: float | None = None
    version: str | None = None


@dataclass(frozen=True)
class Verification:
    """What was found.

    Attributes:
        audio: what the runtimes transcribed, in words.
    """

    audio: str
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing failed; what could not be looked at does not count."""
        return all(check.passed is not False for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """Return plain data for bundle.json."""
        return {"passed": self.passed, "audio": self.audio, "checks": [asdict(c) for c in self.checks]}


def check_variant(name: str, recognizer: Recognizer) -> Check:
    """Make one of `OWN_CHECKS`; whatever goes wrong in it is its result."""
    try:
        return Check(name, recognizer.variant.name, True, OWN_CHECKS[name](recognizer))
    except Exception as error:  # onnxruntime's own exceptions share no base class but Exception
        return Check(name, recognizer.variant.name, False, " ".join(str(error).split())[:300])


class _Failure(KdcompressError):
    """A check that did not pass."""


def _lengths(recognizer: Recognizer) -> str:
    size = len(recognizer.bundle.vocabulary)
    for seconds in (*SECONDS, LONGEST_SECONDS):
        features = recognizer.features(synthetic_waveform(seconds))
        log_probs = recognizer.log_probs([features])[0]
        bundle = recognizer.bundle
        frames = frame_counts(np.array(len(features)), bundle.subsampling_factor, bundle.frame_window)
        expected = (int(frames), size)
        if log_probs.shape != expected:
            raise _Failure(f"{seconds} s gave {log_probs.shape} log-probabilities, expected {expected}")
        if not np.isfinite(log_probs).all():
            raise _Failure(f"{seconds} s gave NaN or infinity")
        if (worst := float(np.abs(np.exp(log_probs).sum(axis=1) - 1).max())) > 1e-2:
            raise _Failure(f"{seconds} s gave probabilities whose sum is off by {worst:.2g}")
    return f"{SECONDS[0]} to {LONGEST_SECONDS:.0f} s"


def _padding(recognizer: Recognizer) -> str:
    features = [recognizer.features(synthetic_waveform(seconds)) for seconds in SECONDS]
    together = recognizer.log_probs(features)
    worst, same, frames = 0.0, 0, 0
    for array, batched in zip(features, together, strict=True):
        alone = recognizer.log_probs([array])[0]
        worst = max(worst, float(np.abs(alone - batched).max()))
        same += int((alone.argmax(axis=1) == batched.argmax(axis=1)).sum())
        frames += len(alone)
        close = np.allclose(alone, batched, rtol=_RELATIVE, atol=_ABSOLUTE[recognizer.bundle.input])
        # Integer graphs take the range of the activations from the whole batch.
        if recognizer.variant.name == FP32 and not close:
            raise _Failure(f"{len(array)} frames differ by {worst:.2g} in a padded batch")
    return f"largest difference {worst:.2g}, same best token {same / frames:.2%}"


def _selftest(recognizer: Recognizer) -> str:
    folder = recognizer.bundle.directory
    expected = json.loads((folder / RECORD).read_text(encoding="utf-8"))["variants"][recognizer.variant.name]
    log_probs = recognizer.log_probs([recognizer.features(read_audio(folder / AUDIO))])[0]
    off = abs(float(log_probs.max(axis=1).mean()) - float(expected["mean_log_prob"]))
    if off > float(expected["tolerance"]):
        raise _Failure(f"the mean log-probability is off by {off:.2g}, allowed are {expected['tolerance']}")
    if recognizer.variant.name == FP32 and log_probs.argmax(axis=1).tolist() != expected["best_tokens"]:
        raise _Failure("the best tokens are not those of selftest.json")
    return f"mean log-probability off by {off:.2g}"


OWN_CHECKS: Mapping[str, Callable[[Recognizer], str]] = {
    "lengths": _lengths,
    "padding": _padding,
    "selftest": _selftest,
}
"""Each returns what it found, in words, or raises."""

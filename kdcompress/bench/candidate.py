"""What can be measured: anything that turns samples into text and says where its time went.

S samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from kdcompress.bench.facts import graph_facts
from kdcompress.report.measured import Facts
from kdcompress.runtime.bundle import Bundle, open_bundle
from kdcompress.runtime.recognizer import Recognizer, pad
from kdcompress.runtime.session import Provider

__all__ = ["BundleCandidate", "Candidate", "Recognition", "Waveform", "bundle_candidates"]

Waveform: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Recognition:
    """The text of one utterance, and the seconds that its parts took.

    Attributes:
        features: 0 where the model computes them itself; `model` then contains them.
    """

    text: str
    features: float
    model: float
    decoding: float


class Candidate(Protocol):
    """A model in a runtime.

    Attributes:
        name: unique in a report.
        bytes: size on disk of what must be shipped, None where unknown.
        parameters: number of weights, None where unknown; may be known after `load` only, like `bytes`.
    """

    @property
    def name(self) -> str: ...
    @property
    def bytes(self) -> int | None: ...
    @property
    def parameters(self) -> int | None: ...

    def load(self) -> None:
        """Open the model; timed. Any exception marks the candidate as failed."""
        ...

    def facts(self) -> Facts:
        """Say how it runs; called once after `load`, outside every clock."""
        ...

    def recognise(self, samples: Waveform) -> Recognition:
        """BlockTiming samples float32 [S] at 16 kHz into text; raises rather than answer nonsense."""
        ...


@runtime_checkable
class Batched(Protocol):
    """A candidate that can hear several utterances at once.

    Attributes:
        batches: whether it really can; known once it is loaded.
    """

    @property
    def batches(self) -> bool: ...

    def recognise_batch(self, waveforms: Sequence[Waveform]) -> list[str]:
        """BlockTiming several utterances, samples float32 [S] at 16 kHz each, into text in one call."""
        ...


class BundleCandidate:
    """One variant of a bundle in our own runtime."""

    batches = True

    def __init__(
        self,
        bundle: Bundle,
        variant: str,
        provider: Provider = "cpu",
        threads: int = 1,
        name: str | None = None,
    ) -> None:
        self._bundle = bundle
        self._variant = bundle.variant(variant)
        self._provider: Provider = provider
        self._threads = threads
        self._recognizer: Recognizer | None = None
        self.name = name or f"{bundle.directory.resolve().name} {variant}"
        self.bytes: int | None = self._variant.bytes
        self.parameters = bundle.parameters

    def load(self) -> None:
        """Create the session."""
        self._recognizer = Recognizer(self._bundle, self._variant.name, self._provider, self._threads)

    def facts(self) -> Facts:
        """Say which provider ran how many nodes of a one-second run."""
        recognizer = self._loaded()
        session = recognizer.session
        features, lengths = pad([recognizer.features(_noise(1.0))])
        ops = tuple(self._variant.ops)
        return graph_facts(
            session,
            session.layout.feeds(features, lengths),
            precision=self._variant.name,
            features_in_model=session.layout.takes_waveforms,
            int8="int8" in self._variant.name or "MatMulInteger" in ops,
        )

    def recognise(self, samples: Waveform) -> Recognition:
        """Run features, graph and CTC decoding."""
        transcript = self._loaded().transcribe(samples)
        timings = transcript.timings
        return Recognition(transcript.text, timings.features, timings.model, timings.decoding)

    def recognise_batch(self, waveforms: Sequence[Waveform]) -> list[str]:
        """Run the graph once on all of them."""
        return [transcript.text for transcript in self._loaded().transcribe_batch(waveforms)]

    def _loaded(self) -> Recognizer:
        if self._recognizer is None:
            raise RuntimeError("load() comes first")
        return self._recognizer


def bundle_candidates(
    bundles: Sequence[Path], variants: Sequence[str] = (), provider: Provider = "cpu", threads: int = 1
) -> list[BundleCandidate]:
    """Return a candidate for every variant of every bundle, or for those named; names are unique.

    Raises:
        BundleError: a directory is no bundle, or has none of the variants.
    """
    opened = [open_bundle(path) for path in bundles]
    short = [bundle.directory.resolve().name for bundle in opened]
    # Two bundles of one name in different folders: only their paths tell them apart.
    labels = short if len(set(short)) == len(short) else [str(bundle.directory) for bundle in opened]
    return [
        BundleCandidate(bundle, variant, provider, threads, f"{label} {variant}")
        for bundle, label in zip(opened, labels, strict=True)
        for variant in variants or bundle.variants
    ]


def _noise(seconds: float) -> Waveform:
    return np.random.default_rng(0).normal(0, 0.01, round(16_000 * seconds)).astype(np.float32)

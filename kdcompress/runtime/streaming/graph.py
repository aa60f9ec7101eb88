"""A streaming graph: it is given a chunk and what it returned for the chunk before.

N streams, T feature frames of a chunk, F mel bands, T' output frames of a chunk, V vocabulary.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from kdcompress.aliases import FloatArray, IntArray
from kdcompress.audio.utterance import SAMPLE_RATE
from kdcompress.errors import BundleError
from kdcompress.runtime.session import Session
from kdcompress.runtime.streaming.chunks import Chunks, FeatureChunks, TelephoneChunks

States: TypeAlias = tuple[npt.NDArray[np.generic], ...]
"""Of N streams, each [N, …], in the order of the layout."""

TAIL = 0.64
"""Silence behind the end of the audio [s]: a student prints some frames after it was given the sound."""

_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(int64)": np.int64}


class StreamingGraph:
    """Runs a streaming graph, many streams at a time.

    Attributes:
        session: the loaded graph.
        window: T.
        shift: from chunk to chunk [feature frames]; the rest of a chunk is look-ahead.
        factor: feature frames per output frame.
    """

    def __init__(self, session: Session) -> None:
        """Read how the graph wants its chunks.

        Raises:
            BundleError: its metadata do not say so, or say what cannot be.
        """
        self.session = session
        metadata = session.metadata
        self.window, self.shift, self.factor = (
            _whole(session, metadata, key) for key in ("window_size", "chunk_shift", "subsampling_factor")
        )
        if not self.factor <= self.shift <= self.window:
            raise BundleError(
                f"{session.graph} takes chunks of {self.window} frames every {self.shift}, subsampled by "
                f"{self.factor}; expected subsampling_factor ≤ chunk_shift ≤ window_size: export again"
            )
        known = {value.name: value for value in session.session.get_inputs()}
        self._empty: dict[str, npt.NDArray[np.generic]] = {}
        for state in session.layout.states:
            value = known[state.given]
            # sherpa-onnx reads the sizes from the metadata; a graph may leave them open in its inputs.
            shape = [
                size if isinstance(size, int) else _whole(session, metadata, f"{state.given}_dim{axis}")
                for axis, size in enumerate(value.shape[1:], 1)
            ]
            self._empty[state.given] = np.zeros([1, *shape], _TYPES[value.type])

    def chunks(self, sample_rate: int = SAMPLE_RATE) -> Chunks:
        """Return what cuts one stream of samples of that rate [Hz] into the graph's chunks.

        Raises:
            AudioError: there is no such rate.
        """
        kind = TelephoneChunks if self.session.layout.integers else FeatureChunks
        return kind(self.window, self.shift, sample_rate)

    def initial(self, count: int = 1) -> States:
        """Return the states of N streams that have heard nothing yet."""
        return tuple(np.repeat(empty, count, axis=0) for empty in self._empty.values())

    def feeds(self, chunks: FloatArray, states: States, lengths: IntArray | None = None) -> dict[str, Any]:
        """Return the graph's inputs of a step."""
        full = np.full(len(chunks), self.window, np.int64)
        feeds = self.session.layout.feeds(chunks, full if lengths is None else lengths)
        return feeds | dict(zip(self._empty, states, strict=True))

    def step(
        self, chunks: FloatArray, states: States, lengths: IntArray | None = None
    ) -> tuple[FloatArray, IntArray, States]:
        """Run one chunk of each stream.

        Args:
            chunks: features, or hops of samples [N, T, F].
            states: that the step before returned, or the initial ones.
            lengths: how many frames of each are audio [N], at least 1; all unless given.

        Returns:
            Log-probabilities [N, T', V], how many frames of each row count [N], and the states after it.
        """
        layout = self.session.layout
        log_probs, *after = self.session.ask(self.feeds(chunks, states, lengths), layout.returned)
        counts = (
            after.pop(0) if len(layout.outputs) > 1 else np.full(len(chunks), log_probs.shape[1], np.int64)
        )
        return log_probs, counts, tuple(after)

    def windows(self, features: FloatArray, lengths: IntArray) -> Iterator[tuple[FloatArray, IntArray]]:
        """Cut whole utterances [N, T, F] into chunks; beyond an end lengths are 1."""
        frames = features.shape[1]
        count = max(1, -(-frames // self.shift))
        padded = np.zeros(
            (len(features), (count - 1) * self.shift + self.window, features.shape[2]), np.float32
        )
        padded[:, :frames] = features
        for start in range(0, count * self.shift, self.shift):
            yield padded[:, start : start + self.window], np.clip(lengths - start, 1, self.window)

    def run(self, features: FloatArray, lengths: IntArray) -> tuple[FloatArray, IntArray]:
        """Map whole utterances [N, T, F] and their lengths [N] to log posteriors [N, T', V] and lengths."""
        states, pieces = self.initial(len(features)), []
        for chunks, here in self.windows(features, lengths):
            log_probs, _, states = self.step(chunks, states, here)
            pieces.append(log_probs)
        return np.concatenate(pieces, axis=1), -(-lengths // self.factor)


def runner(session: Session) -> Session | StreamingGraph:
    """Return what maps whole utterances to log posteriors, whether the graph takes chunks or not."""
    return StreamingGraph(session) if session.layout.chunked else session


def stack(states: Sequence[States]) -> States:
    """Put the states of single streams, each [1, …], together."""
    return tuple(np.concatenate(parts) for parts in zip(*states, strict=True))


def _whole(session: Session, metadata: Mapping[str, str], key: str) -> int:
    text = metadata.get(key, "")
    if not text.isdecimal() or int(text) < 1:
        raise BundleError(
            f"{session.graph} says {key}={text!r} in its metadata; expected a number above 0: export again"
        )
    return int(text)

"""A CTC model of any origin in an ONNX graph.

Two layouts are known by their inputs. Features: `audio_signal` [B, F, T] and `length` [B], as NeMo exports
them, sherpa-onnx and onnx-asr load them and `kdcompress export` writes them; they are our own log-mel.
Waveforms: one input [B, S], as wav2vec2 and its relatives are exported, with or without a mask or lengths.

B batch, S samples, T frames, F mel bands, V vocabulary.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kdcompress.aliases import FloatArray
from kdcompress.audio.utterance import SAMPLE_RATE
from kdcompress.errors import BundleError
from kdcompress.frontend.logmel_numpy import BANDS, Normalize, log_mel
from kdcompress.runtime.external.files import OnnxFiles
from kdcompress.runtime.session import GraphSession, Provider

_DTYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
}
_FEATURES = {"audio_signal", "length"}


class ExternalGraph:
    """A graph in a session, and how it wants to be fed.

    Attributes:
        session: that runs it.
        vocabulary: of its outputs.
        takes_features: whether it is fed log-mel features rather than waveforms.
        normalize: of these features.
        tells_lengths: whether it says how many frames of each utterance count; only then may utterances of
            different length share a run, and only if padding does not change their outputs.
        fixed_batch: whether it takes one utterance at a time.
    """

    def __init__(self, name: str, files: OnnxFiles, provider: Provider, threads: int) -> None:
        """Load the graph and try it once.

        Args:
            name: of the model, for messages.
            files: what lies on disk.
            provider: what it runs on.
            threads: given to it.

        Raises:
            BundleError: it cannot be loaded or run, is of no layout that is known, or its vocabulary is
                another model's.
            ConfigError: there is no such provider.
        """
        self.session = GraphSession(files.graph, provider, threads)
        self.vocabulary = files.vocabulary
        self._name, self._files = name, files
        self._inputs = {i.name: _DTYPES.get(i.type) for i in self.session.session.get_inputs()}
        self.takes_features = self._recognise_layout()
        self.normalize: Normalize = self._feature_normalization() if self.takes_features else "none"
        self._gives_probabilities = False
        probe, _ = self.run([self.prepare(noise(SAMPLE_RATE))])
        if probe.shape[2] != len(files.vocabulary):
            raise BundleError(
                f"{name} has {probe.shape[2]} outputs and {len(files.vocabulary)} tokens: "
                "the token file is another model's"
            )
        rows = probe[0].astype(np.float64)
        self._gives_probabilities = bool((np.abs(rows.sum(-1) - 1) < 1e-2).all() and (rows >= 0).all())

    def prepare(self, waveform: FloatArray) -> FloatArray:
        """Turn one utterance [S] at 16 kHz, without padding, into the graph's input: [S] or features [T, F].

        What is too short for a frame is extended to one with zeros.
        """
        if self.takes_features:
            features = log_mel(waveform, normalize=self.normalize)
            return features if len(features) else np.zeros((1, BANDS), np.float32)
        if self._files.normalizes and len(waveform):
            waveform = (waveform - waveform.mean()) / np.sqrt(waveform.var() + 1e-7)
        return np.pad(waveform, (0, max(0, self._files.shortest - len(waveform)))).astype(
            np.float32, copy=False
        )

    def feeds(self, inputs: Sequence[FloatArray]) -> dict[str, Any]:
        """Return the graph's inputs for prepared utterances, padded with zeros to the longest of them."""
        sizes = np.array([len(x) for x in inputs], np.int64)
        batch = np.zeros((len(inputs), int(sizes.max()), *inputs[0].shape[1:]), np.float32)
        for row, values in zip(batch, inputs, strict=True):
            row[: len(values)] = values
        signal = batch.transpose(0, 2, 1) if self.takes_features else batch
        feeds = {self._signal: np.ascontiguousarray(signal, self._inputs[self._signal])}
        if self._other is not None:
            mask = np.arange(batch.shape[1]) < sizes[:, None]
            value = sizes if len(self._other.shape) == 1 else mask
            feeds[self._other.name] = value.astype(self._inputs[self._other.name])
        return feeds

    def run(self, inputs: Sequence[FloatArray]) -> tuple[FloatArray, list[int]]:
        """Run the graph once on prepared utterances.

        Returns:
            Scores float32 [B, T, V], log-probabilities but for a constant per frame, and how many frames of
            each utterance count; of a graph that does not tell lengths, all of them.

        Raises:
            BundleError: onnxruntime cannot run it on these.
        """
        feeds = self.feeds(inputs)
        scores, *counts = self.session.ask(feeds, self._outputs)
        scores = np.asarray(scores, np.float32)
        if self._gives_probabilities:
            scores = np.log(np.maximum(scores, np.finfo(np.float32).tiny))
        frames = counts[0].tolist() if counts else [scores.shape[1]] * len(inputs)
        return scores, [min(int(n), scores.shape[1]) for n in frames]

    def _recognise_layout(self) -> bool:
        """Tell features from waveforms, and find the outputs' names."""
        inputs, outputs = self.session.session.get_inputs(), self.session.session.get_outputs()
        signals = [i for i in inputs if "float" in i.type]
        others = [i for i in inputs if "float" not in i.type]
        scores = [o for o in outputs if "float" in o.type and len(o.shape) == 3]
        counts = [o for o in outputs if "int" in o.type and len(o.shape) == 1]
        features = set(self._inputs) == _FEATURES and len(signals) == 1 and len(signals[0].shape) == 3
        waveforms = len(signals) == 1 and len(signals[0].shape) == 2 and len(others) <= 1
        known = None not in self._inputs.values()
        if not (features or waveforms) or not scores or not known:
            raise BundleError(
                f"{self._name} maps {_listed(inputs)} to {_listed(outputs)}; expected audio_signal "
                "[B, 80, T] and length (NeMo's layout, not streaming) or one waveform [B, S], and scores "
                "[B, T, V] out"
            )
        if features and isinstance(signals[0].shape[1], int) and signals[0].shape[1] != BANDS:
            raise BundleError(f"{self._name} wants {signals[0].shape[1]} mel bands, not {BANDS}")
        self._signal, self._other = signals[0].name, others[0] if others else None
        self._outputs = [scores[0].name, *(count.name for count in counts[:1])]
        self.fixed_batch = signals[0].shape[0] == 1
        self.tells_lengths = bool(counts)
        return features

    def _feature_normalization(self) -> Normalize:
        # NeMo's models are normalised unless they say otherwise, and not every exporter says it.
        metadata = self.session.session.get_modelmeta().custom_metadata_map
        kind = metadata.get("normalize_type", "per_feature")
        if kind not in {"per_feature", "", "NA", "none"}:
            raise BundleError(
                f"{self._name} wants features normalised by {kind!r}; expected per_feature or none"
            )
        return "per_feature" if kind == "per_feature" else "none"


def noise(samples: int) -> FloatArray:
    """Return quiet noise [S], always the same, to try a graph with."""
    return np.random.default_rng(0).normal(0, 0.1, samples).astype(np.float32)


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(f"{value.name} {value.shape}" for value in values)

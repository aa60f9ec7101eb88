"""A CTC model in an ONNX graph as a teacher, run by onnxruntime.

Two layouts are known by their inputs. Features: `audio_signal` [B, F, T] and `length` [B], as NeMo exports
them, sherpa-onnx and onnx-asr load them and `kdcompress export` writes them; they are our own log-mel.
Waveforms: one input [B, S], as wav2vec2 and its relatives are exported, with or without a mask or lengths.

A graph that says how long each output is may be run on padded batches, if a trial on opening shows that
padding goes unheard; any other is run on utterances of equal length together.

B batch, S samples, T frames, F mel bands, V vocabulary.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from typing_extensions import Self

from kdcompress.audio.utterance import SAMPLE_RATE
from kdcompress.config.teacher import OnnxTeacher
from kdcompress.errors import BundleError, TeacherError, VocabularyError
from kdcompress.frontend.logmel_numpy import BANDS, HOP, Normalize, log_mel
from kdcompress.runtime.session import GraphSession, Provider
from kdcompress.teachers.onnx_files import OnnxFiles, find_files, measure_graph
from kdcompress.teachers.padding import Grouping, find_company, find_grouping, listen
from kdcompress.teachers.teacher import Posteriors

_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
}
_FEATURES = {"audio_signal", "length"}
# Every usual stride, from 10 to 160 ms, divides it: floors cancel exactly over this distance.
_DISTANCE = 61_440  # [samples]


class GraphTeacher:
    """A graph in an onnxruntime session; see `Teacher` for the attributes.

    Attributes:
        runtime: what runs it, for the benchmark's report.
    """

    def __init__(
        self, name: str, files: OnnxFiles, device: torch.device | str, provider: Provider | None
    ) -> None:
        self._name, self._files, self._asked = name, files, provider
        self._device = torch.device(device)
        self._open()
        self._takes_features = self._recognise_layout()
        self._normalize = self._feature_normalization() if self._takes_features else "none"
        self._gives_probabilities = False
        probe, (frames,) = self._run([self._prepare(_noise(SAMPLE_RATE))])
        if probe.shape[2] != len(files.vocabulary):
            raise TeacherError(
                f"teacher {name} has {probe.shape[2]} outputs and {len(files.vocabulary)} tokens: "
                "the token file is another model's"
            )
        rows = probe[0].double()
        self._gives_probabilities = bool(((rows.sum(-1) - 1).abs() < 1e-2).all() and (rows >= 0).all())
        self._grouping = self._find_grouping()
        self.vocabulary = files.vocabulary
        self.sample_rate = SAMPLE_RATE
        self.frame_shift = self._measure_frame_shift(frames)
        graph, counted = measure_graph(files.graph)
        fed = self._normalize if self._takes_features else files.normalizes
        text = f"{graph} {fed} {self.vocabulary.fingerprint}"
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()[:12]
        self.parameters = files.parameters or counted
        self.bytes = 4 * self.parameters

    def posteriors(self, waveforms: Tensor, lengths: Tensor) -> Posteriors:
        """Listen to a batch; see `Teacher.posteriors`.

        An utterance too short for one frame of features has length 0; of a model that takes waveforms, it is
        extended with zeros to one frame, and only an empty one has length 0.
        """
        shortest = HOP if self._takes_features else 1
        samples: list[int] = lengths.tolist()
        waveforms = waveforms.detach().cpu()
        inputs = [self._prepare(waveform[:n]) for waveform, n in zip(waveforms, samples, strict=True)]
        empty, size = [n < shortest for n in samples], len(self.vocabulary)
        return listen(self._name, self._run, inputs, empty, self._grouping, size, self.frame_shift)

    def to(self, device: torch.device | str) -> Self:
        """Put results on a device, and the graph too unless the provider was chosen; returns itself.

        Raises:
            ConfigError: onnxruntime has no provider for it.
        """
        moved = torch.device(device)
        if moved != self._device:
            self._device = moved
            self._open()
        return self

    def _open(self) -> None:
        provider = self._asked or ("cuda" if self._device.type == "cuda" else "cpu")
        # torch's number of threads, so that whoever sets that, as the benchmark does, sets this.
        self._session = GraphSession(self._files.graph, provider, torch.get_num_threads()).session
        self._inputs = {i.name: _DTYPES.get(i.type) for i in self._session.get_inputs()}
        self.runtime = f"onnxruntime {onnxruntime.__version__}"

    def _recognise_layout(self) -> bool:
        """Tell features from waveforms, and find the outputs' names."""
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        signals = [i for i in inputs if "float" in i.type]
        others = [i for i in inputs if "float" not in i.type]
        scores = [o for o in outputs if "float" in o.type and len(o.shape) == 3]
        counts = [o for o in outputs if "int" in o.type and len(o.shape) == 1]
        features = set(self._inputs) == _FEATURES and len(signals) == 1 and len(signals[0].shape) == 3
        waveforms = len(signals) == 1 and len(signals[0].shape) == 2 and len(others) <= 1
        known = None not in self._inputs.values()
        if not (features or waveforms) or not scores or not known:
            raise TeacherError(
                f"teacher {self._name} maps {_listed(inputs)} to {_listed(outputs)}; expected audio_signal "
                "[B, 80, T] and length (NeMo's layout, not streaming) or one waveform [B, S], and scores "
                "[B, T, V] out"
            )
        if features and isinstance(signals[0].shape[1], int) and signals[0].shape[1] != BANDS:
            raise TeacherError(f"teacher {self._name} wants {signals[0].shape[1]} mel bands, not {BANDS}")
        self._signal, self._other = signals[0].name, others[0] if others else None
        self._fixed_batch = signals[0].shape[0] == 1
        self._outputs = [scores[0].name, *(count.name for count in counts[:1])]
        return features

    def _feature_normalization(self) -> Normalize:
        # NeMo's models are normalised unless they say otherwise, and not every exporter says it.
        kind = self._session.get_modelmeta().custom_metadata_map.get("normalize_type", "per_feature")
        if kind not in {"per_feature", "", "NA", "none"}:
            raise TeacherError(
                f"teacher {self._name} wants features normalised by {kind!r}; expected per_feature or none"
            )
        return "per_feature" if kind == "per_feature" else "none"

    def _find_grouping(self) -> Grouping:
        if self._fixed_batch:
            return Grouping.SINGLE
        try:
            if len(self._outputs) == 2:
                return find_grouping(self._run, self._prepare)[0]
            return find_company(self._run, self._prepare)
        except TeacherError:  # traced with a batch of one, though it does not say so
            return Grouping.SINGLE

    def _measure_frame_shift(self, frames: int) -> float:
        _, (more,) = self._run([self._prepare(_noise(SAMPLE_RATE + _DISTANCE))])
        if more <= frames:
            raise TeacherError(f"teacher {self._name} gives {frames} frames for any length; expected more")
        return _DISTANCE / (more - frames) / SAMPLE_RATE

    def _prepare(self, waveform: Tensor) -> Tensor:
        """Turn one utterance, without padding, into the graph's input: [S] or features [T, F]."""
        waveform = waveform.float()
        if self._takes_features:
            features = log_mel(waveform.numpy(), normalize=self._normalize)
            return torch.from_numpy(features) if len(features) else torch.zeros(1, BANDS)
        if self._files.normalizes and len(waveform):
            waveform = (waveform - waveform.mean()) / (waveform.var(correction=0) + 1e-7).sqrt()
        return torch.nn.functional.pad(waveform, (0, max(0, self._files.shortest - len(waveform))))

    def _run(self, inputs: Sequence[Tensor]) -> tuple[Tensor, list[int]]:
        sizes = torch.tensor([len(x) for x in inputs])
        batch = pad_sequence(list(inputs), batch_first=True)
        signal = (batch.transpose(1, 2) if self._takes_features else batch).numpy()
        feeds = {self._signal: np.ascontiguousarray(signal, self._inputs[self._signal])}
        if self._other is not None:
            mask = torch.arange(batch.shape[1]) < sizes[:, None]
            value = sizes if len(self._other.shape) == 1 else mask
            feeds[self._other.name] = value.numpy().astype(self._inputs[self._other.name])
        try:
            scores, *counts = self._session.run(self._outputs, feeds)
        except Exception as error:  # onnxruntime's own exceptions share no base class but Exception
            reason = (str(error).strip().splitlines() or [repr(error)])[0]
            raise TeacherError(
                f"teacher {self._name} cannot be run on {list(batch.shape)}: {reason}"
            ) from error
        logits = torch.from_numpy(np.asarray(scores, np.float32)).to(self._device)
        if self._gives_probabilities:
            logits = logits.clamp_min(torch.finfo(torch.float32).tiny).log()
        frames = counts[0].tolist() if counts else [logits.shape[1]] * len(inputs)
        return logits, [min(int(n), logits.shape[1]) for n in frames]


def open_onnx(config: OnnxTeacher, device: torch.device | str = "cpu") -> GraphTeacher:
    """Load a graph and the vocabulary beside it.

    Raises:
        TeacherError: one of them is missing or damaged, or the graph is of no layout that is known.
        ConfigError: onnxruntime has no provider for the device.
    """
    try:
        return GraphTeacher(str(config.path), find_files(config), device, config.provider)
    except (BundleError, VocabularyError) as error:
        raise TeacherError(f"cannot open teacher {config.path}: {error}") from error


def _noise(samples: int) -> Tensor:
    return 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(0))


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(f"{value.name} {value.shape}" for value in values)

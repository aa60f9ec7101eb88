"""A CTC model in an ONNX graph as a teacher: `kdcompress.runtime.external.graph` on torch's tensors.

A graph that says how long each output is may be run on padded batches, if a trial on opening shows that
padding changes nothing; any other is run on utterances of equal length together.

B batch, S samples, T frames, F mel bands, V vocabulary.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import onnxruntime
import torch
from torch import Tensor
from typing_extensions import Self

from kdcompress.audio.utterance import SAMPLE_RATE
from kdcompress.config.teacher import OnnxTeacher
from kdcompress.errors import BundleError, TeacherError, VocabularyError
from kdcompress.frontend.logmel_numpy import HOP
from kdcompress.runtime.external.files import OnnxFiles, find_files, measure_graph
from kdcompress.runtime.external.graph import ExternalGraph, noise
from kdcompress.runtime.session import Provider
from kdcompress.teachers.batch_invariance import (
    BatchPolicy,
    batched_posteriors,
    probe_batch_invariance,
    probe_batch_policy,
)
from kdcompress.teachers.teacher import Posteriors

# Every usual stride, from 10 to 160 ms, divides it: floors cancel exactly over this distance.
_DISTANCE = 61_440  # [samples]


class GraphTeacher:
    """A graph in an onnxruntime session; see `Teacher` for the attributes.

    Attributes:
        runtime: what runs it, for the benchmark's report.
        note: what no file says about it and was assumed, for people; None where nothing was.
    """

    def __init__(
        self, name: str, files: OnnxFiles, device: torch.device | str, provider: Provider | None
    ) -> None:
        self._name, self._files, self._asked = name, files, provider
        self._device = torch.device(device)
        self._open()
        self._policy = self._find_policy()
        self.vocabulary = files.vocabulary
        self.sample_rate = SAMPLE_RATE
        self.frame_shift = self._measure_frame_shift()
        self.note = None if self._graph.takes_features else files.assumed
        graph, counted = measure_graph(files.graph)
        fed = self._normalize if self._graph.takes_features else files.normalizes
        text = f"{graph} {fed} {self.vocabulary.fingerprint}"
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()[:12]
        self.parameters = files.parameters or counted
        self.bytes = 4 * self.parameters

    @classmethod
    def open(cls, config: OnnxTeacher, device: torch.device | str = "cpu") -> Self:
        """Load a graph and the vocabulary beside it.

        Raises:
            TeacherError: one of them is missing or damaged, or the graph is of no layout that is known.
            ConfigError: onnxruntime has no provider for the device.
        """
        try:
            files = find_files(config.path, config.variant, config.normalize)
            return cls(str(config.path), files, device, config.provider)
        except (BundleError, VocabularyError) as error:
            raise TeacherError(f"cannot open teacher {config.path}: {error}") from error

    def posteriors(self, waveforms: Tensor, lengths: Tensor) -> Posteriors:
        """Run the model on a batch; see `Teacher.posteriors`.

        An utterance too short for one frame of features has length 0; of a model that takes waveforms, it is
        extended with zeros to one frame, and only an empty one has length 0.
        """
        shortest = HOP if self._graph.takes_features else 1
        samples: list[int] = lengths.tolist()
        waveforms = waveforms.detach().cpu()
        inputs = self._prepare([waveform[:n] for waveform, n in zip(waveforms, samples, strict=True)])
        empty, size = [n < shortest for n in samples], len(self.vocabulary)
        return batched_posteriors(self._name, self._run, inputs, empty, self._policy, size, self.frame_shift)

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
        self._graph = ExternalGraph(self._name, self._files, provider, torch.get_num_threads())
        self._session, self._normalize = self._graph.session.session, self._graph.normalize
        self.runtime = f"onnxruntime {onnxruntime.__version__}"

    def _find_policy(self) -> BatchPolicy:
        if self._graph.fixed_batch:
            return BatchPolicy.SINGLE
        try:
            if self._graph.tells_lengths:
                return probe_batch_policy(self._run, self._prepare)[0]
            return probe_batch_invariance(self._run, self._prepare)
        except TeacherError:  # traced with a batch of one, though it does not say so
            return BatchPolicy.SINGLE

    def _measure_frame_shift(self) -> float:
        (frames,), (more,) = (
            self._graph.run([self._graph.prepare(noise(samples))])[1]
            for samples in (SAMPLE_RATE, SAMPLE_RATE + _DISTANCE)
        )
        if more <= frames:
            raise TeacherError(f"teacher {self._name} gives {frames} frames for any length; expected more")
        return _DISTANCE / (more - frames) / SAMPLE_RATE

    def _prepare(self, waveforms: Sequence[Tensor]) -> list[Tensor]:
        """Turn utterances, without padding, into the graph's inputs: [S] or features [T, F]."""
        return [torch.from_numpy(self._graph.prepare(one.float().numpy())) for one in waveforms]

    def _run(self, inputs: Sequence[Tensor]) -> tuple[Tensor, list[int]]:
        try:
            scores, frames = self._graph.run([np.asarray(x) for x in inputs])
        except BundleError as error:
            raise TeacherError(f"teacher {error}") from error
        return torch.from_numpy(scores).to(self._device), frames

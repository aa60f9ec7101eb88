"""A teacher, or a student before its export, as a candidate of the benchmark: torch beside the bundles.

B batch, S samples, V vocabulary.
"""

import time
from collections.abc import Sequence
from typing import Literal

import numpy as np
import soxr
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from kdcompress.audio.utterance import SAMPLE_RATE
from kdcompress.bench.candidate import Recognition, Waveform
from kdcompress.config.teacher import TeacherConfig
from kdcompress.errors import ConfigError
from kdcompress.report.measured import Facts
from kdcompress.teachers.open import open_teacher
from kdcompress.teachers.teacher import Posteriors, Teacher
from kdcompress.text.decode import greedy

_LOWER = {"fp16": torch.float16, "bf16": torch.bfloat16}


class TeacherCandidate:
    """A teacher in torch.

    Its features are computed inside `posteriors` and counted as the model's time.
    """

    batches = True

    def __init__(
        self,
        config: TeacherConfig,
        provider: Literal["cpu", "cuda"] = "cpu",
        threads: int = 1,
        name: str = "teacher",
        precision: str = "fp32",
    ) -> None:
        """Plan a candidate; nothing is read before `load`.

        Args:
            config: which teacher.
            provider: the device.
            threads: torch's, for the whole process.
            name: unique in a report.
            precision: `fp32`, or `fp16` or `bf16` for what torch's autocast computes in it.

        Raises:
            ConfigError: there is no such precision.
        """
        if precision not in {"fp32", *_LOWER}:
            raise ConfigError(f"torch computes in fp32, {' or '.join(_LOWER)} here; found {precision!r}")
        self._config = config
        self._device = provider
        self._threads = threads
        self._precision = precision
        self._teacher: Teacher | None = None
        self.name = name

    @property
    def bytes(self) -> int | None:
        """Of its weights in float32, once loaded."""
        return self._teacher.bytes if self._teacher else None

    @property
    def parameters(self) -> int | None:
        """Their number, once loaded."""
        return self._teacher.parameters if self._teacher else None

    def load(self) -> None:
        """Read the weights; sets torch's number of threads for the whole process.

        Raises:
            ConfigError: torch has no CUDA device.
            TeacherError: it cannot be opened.
        """
        if self._device == "cuda" and not torch.cuda.is_available():
            raise ConfigError(f"torch {torch.__version__} finds no CUDA device; choose the provider cpu")
        torch.set_num_threads(self._threads)
        self._teacher = open_teacher(self._config, self._device)

    def facts(self) -> Facts:
        """Return what it runs in: torch, unless the teacher names another runtime."""
        other = getattr(self._loaded(), "runtime", None)
        options = {"num_threads": str(torch.get_num_threads()), "autocast": self._precision}
        if self._device == "cuda":
            options["matmul_precision"] = torch.get_float32_matmul_precision()
        return Facts(
            other or f"torch {torch.__version__}",
            self._device,
            torch.get_num_threads(),
            features_in_model=True,
            runtime_name="kdcompress" if other else "torch",
            options=options,
            precision=self._precision,
        )

    def recognise(self, samples: Waveform) -> Recognition:
        """Run the teacher and greedy CTC decoding."""
        begin = time.perf_counter()
        samples = self._resampled(samples)
        resampled = time.perf_counter()
        posteriors = self._posteriors([torch.from_numpy(samples)])
        # Copying to the host waits for the device: the clock stops when the result is there.
        log_probs = posteriors.log_probs[0, : int(posteriors.lengths[0])].cpu().numpy()
        modelled = time.perf_counter()
        text = self._text(log_probs)
        return Recognition(text, resampled - begin, modelled - resampled, time.perf_counter() - modelled)

    def recognise_batch(self, waveforms: Sequence[Waveform]) -> list[str]:
        """Run the teacher once on all of them, padded to the longest."""
        posteriors = self._posteriors([torch.from_numpy(self._resampled(samples)) for samples in waveforms])
        log_probs, lengths = posteriors.log_probs.cpu().numpy(), posteriors.lengths.tolist()
        return [self._text(row[:frames]) for row, frames in zip(log_probs, lengths, strict=True)]

    def gpu_bytes(self) -> int | None:
        """Return the most that torch has held of the GPU's memory; None on the CPU."""
        return torch.cuda.max_memory_allocated() if self._device == "cuda" else None

    def _posteriors(self, waveforms: Sequence[Tensor]) -> Posteriors:
        lengths = torch.tensor([len(waveform) for waveform in waveforms], device=self._device)
        padded = pad_sequence(list(waveforms), batch_first=True).to(self._device)
        dtype = _LOWER.get(self._precision, torch.float32)
        with torch.autocast(self._device, dtype, enabled=self._precision in _LOWER):
            return self._loaded().posteriors(padded, lengths)

    def _resampled(self, samples: Waveform) -> Waveform:
        rate = self._loaded().sample_rate
        if rate == SAMPLE_RATE:
            return samples
        resampled: Waveform = soxr.resample(samples, SAMPLE_RATE, rate, quality="HQ")
        return resampled

    def _text(self, log_probs: np.ndarray) -> str:
        vocabulary = self._loaded().vocabulary
        return greedy(log_probs, vocabulary).text(vocabulary)

    def _loaded(self) -> Teacher:
        if self._teacher is None:
            raise RuntimeError("load() comes first")
        return self._teacher

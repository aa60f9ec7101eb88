"""A teacher, or a student before its export, as a candidate of the benchmark: torch beside the bundles.

B batch, S samples, V vocabulary.
"""

import time
from collections.abc import Sequence

import soxr
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from kdcompress.aliases import FloatArray
from kdcompress.audio.utterance import SAMPLE_RATE
from kdcompress.bench.candidate import Candidate, ModelSpec, Recognition
from kdcompress.errors import ConfigError
from kdcompress.report.measured import Facts
from kdcompress.teachers.open import open_teacher, resolve_teacher
from kdcompress.teachers.teacher import Posteriors, Teacher
from kdcompress.text.decode import greedy

_LOWER = {"fp16": torch.float16, "bf16": torch.bfloat16}


def build(spec: ModelSpec) -> Candidate:
    """Return the candidate of anything that names a teacher."""
    return TeacherCandidate(spec)


class TeacherCandidate:
    """A teacher in torch.

    Its features are computed inside `posteriors` and counted as the model's time.
    """

    batches = True

    def __init__(self, spec: ModelSpec) -> None:
        """Resolve the teacher; nothing is read before `load`.

        Args:
            spec: `precision` is `fp32`, or `fp16` or `bf16` for what torch's autocast computes in it.

        Raises:
            ConfigError: there is no such precision.
            TeacherError: the path names no teacher.
        """
        if spec.precision not in {"fp32", *_LOWER}:
            raise ConfigError(f"torch computes in fp32, {' or '.join(_LOWER)} here; found {spec.precision!r}")
        self._config = resolve_teacher(spec.path)
        self._device = spec.provider
        self._threads = spec.threads
        self._precision = spec.precision
        self._teacher: Teacher | None = None

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
            runtime=other or f"torch {torch.__version__}",
            provider=self._device,
            threads=torch.get_num_threads(),
            features_in_model=True,
            runtime_name="kdcompress" if other else "torch",
            options=options,
            precision=self._precision,
        )

    def recognise(self, waveforms: Sequence[FloatArray]) -> Recognition:
        """Run the teacher once on all of them, padded to the longest, and greedy CTC decoding."""
        begin = time.perf_counter()
        resampled = [torch.from_numpy(self._resampled(samples)) for samples in waveforms]
        prepared = time.perf_counter()
        posteriors = self._posteriors(resampled)
        # Copying to the host waits for the device: the clock stops when the result is there.
        log_probs, lengths = posteriors.log_probs.cpu().numpy(), posteriors.lengths.tolist()
        modelled = time.perf_counter()
        vocabulary = self._loaded().vocabulary
        texts = tuple(
            greedy(row[:frames], vocabulary).text(vocabulary)
            for row, frames in zip(log_probs, lengths, strict=True)
        )
        return Recognition(texts, prepared - begin, modelled - prepared, time.perf_counter() - modelled)

    def words(self, waveform: FloatArray) -> list[tuple[str, float, float]]:
        """Return the words of an utterance with the times of their spikes."""
        posteriors = self._posteriors([torch.from_numpy(self._resampled(waveform))])
        vocabulary = self._loaded().vocabulary
        path = greedy(posteriors.log_probs[0, : int(posteriors.lengths[0])].cpu().numpy(), vocabulary)
        words = path.words(vocabulary, posteriors.frame_shift)
        return [(word.text, word.start, word.end) for word in words]

    def gpu_bytes(self) -> int | None:
        """Return the most that torch has held of the GPU's memory; None on the CPU."""
        return torch.cuda.max_memory_allocated() if self._device == "cuda" else None

    def _posteriors(self, waveforms: Sequence[Tensor]) -> Posteriors:
        lengths = torch.tensor([len(waveform) for waveform in waveforms], device=self._device)
        padded = pad_sequence(list(waveforms), batch_first=True).to(self._device)
        dtype = _LOWER.get(self._precision, torch.float32)
        with torch.autocast(self._device, dtype, enabled=self._precision in _LOWER):
            return self._loaded().posteriors(padded, lengths)

    def _resampled(self, samples: FloatArray) -> FloatArray:
        rate = self._loaded().sample_rate
        if rate == SAMPLE_RATE:
            return samples
        resampled: FloatArray = soxr.resample(samples, SAMPLE_RATE, rate, quality="HQ")
        return resampled

    def _loaded(self) -> Teacher:
        if self._teacher is None:
            raise RuntimeError("load() comes first")
        return self._teacher

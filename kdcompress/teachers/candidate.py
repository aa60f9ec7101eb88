"""A teacher as a candidate of the benchmark: torch beside the students it taught.

B batch, S samples, V vocabulary.
"""

import time
from typing import Literal

import soxr
import torch

from kdcompress.audio.utterance import SAMPLE_RATE
from kdcompress.bench.candidate import Facts, Recognition, Waveform
from kdcompress.config.teacher import TeacherConfig
from kdcompress.errors import ConfigError
from kdcompress.teachers.teacher import Teacher, open_teacher
from kdcompress.text.decode import greedy


class TeacherCandidate:
    """A teacher in torch, one utterance at a time.

    Its features are computed inside `posteriors` and counted as the model's time.
    """

    def __init__(
        self,
        config: TeacherConfig,
        provider: Literal["cpu", "cuda"] = "cpu",
        threads: int = 1,
        name: str = "teacher",
    ) -> None:
        self._config = config
        self._device = provider
        self._threads = threads
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
        """Say what it runs in: torch, unless the teacher knows better."""
        runtime = getattr(self._loaded(), "runtime", f"torch {torch.__version__}")
        return Facts(runtime, self._device, torch.get_num_threads(), features_in_model=True)

    def recognise(self, samples: Waveform) -> Recognition:
        """Run the teacher and greedy CTC decoding."""
        teacher = self._loaded()
        begin = time.perf_counter()
        if teacher.sample_rate != SAMPLE_RATE:
            samples = soxr.resample(samples, SAMPLE_RATE, teacher.sample_rate, quality="HQ")
        resampled = time.perf_counter()
        waveforms = torch.from_numpy(samples)[None].to(self._device)
        posteriors = teacher.posteriors(waveforms, torch.tensor([len(samples)], device=self._device))
        # Copying to the host waits for the device: the clock stops when the result is there.
        log_probs = posteriors.log_probs[0, : int(posteriors.lengths[0])].cpu().numpy()
        modelled = time.perf_counter()
        text = greedy(log_probs, teacher.vocabulary).text(teacher.vocabulary)
        return Recognition(text, resampled - begin, modelled - resampled, time.perf_counter() - modelled)

    def _loaded(self) -> Teacher:
        if self._teacher is None:
            raise RuntimeError("load() comes first")
        return self._teacher

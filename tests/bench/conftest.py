"""Candidates that a test writes, measured without a process; and utterances of tones for them."""

import sys
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from kdcompress.aliases import FloatArray
from kdcompress.audio.utterance import Reference, Utterance
from kdcompress.bench.candidate import Candidate, ModelSpec
from kdcompress.bench.process import IsolatedCandidate
from kdcompress.bench.timing import one_line
from kdcompress.bench.worker import Service
from kdcompress.errors import BenchError

TEXTS = ["a b", "c", "ab ca", "bb", "a", "c c", "b a c", "aa", "cab", "b", "ab", "ca ba"]


class Here:
    """A worker in this process: it answers as the other one does."""

    def __init__(self, threads: int, cores: Sequence[int] | None) -> None:
        self.service = Service()

    def ask(self, request: dict[str, Any], waveforms: Sequence[FloatArray] = ()) -> Any:
        try:
            return self.service.ask(request, list(waveforms))
        except Exception as error:
            raise BenchError(one_line(error)) from error

    def close(self) -> None: ...


@pytest.fixture
def isolated(monkeypatch: pytest.MonkeyPatch) -> Callable[[Candidate, str], IsolatedCandidate]:
    """Measure an object as if it were in a process of its own; its name is its attribute `name`."""
    numbers = count()

    def make(candidate: Candidate, name: str = "x") -> IsolatedCandidate:
        module = ModuleType(f"scripted_{next(numbers)}")
        module.build = lambda spec: candidate  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        return IsolatedCandidate(ModelSpec(module.__name__, "", name), connect=Here)

    return make


@pytest.fixture(scope="session")
def references(
    say: Callable[[str], npt.NDArray[np.float32]], tmp_path_factory: pytest.TempPathFactory
) -> list[Reference]:
    folder = tmp_path_factory.mktemp("said")
    found = []
    for n, text in enumerate(TEXTS):
        samples = say(text)
        soundfile.write(folder / f"{n}.wav", samples, 16_000, subtype="FLOAT")
        found.append(
            Reference(Utterance(f"u{n}", Path(folder / f"{n}.wav"), 0.0, len(samples) / 16_000), text)
        )
    return found

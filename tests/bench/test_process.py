"""A candidate in another process: what it says comes back, and however it ends, only it has failed."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from kdcompress.audio.utterance import Reference
from kdcompress.bench.candidate import ModelSpec
from kdcompress.bench.process import IsolatedCandidate
from kdcompress.bench.run import run_bench
from kdcompress.bench.runtimes import bundle
from kdcompress.errors import BenchError
from kdcompress.report.measured import Facts, Memory

pytestmark = pytest.mark.slow

Say = Callable[[str], npt.NDArray[np.float32]]
Make = Callable[..., IsolatedCandidate]

# Says a; where an utterance is longer than two seconds, it does what its path says.
FAULTY = """
import os, signal, sys
from kdcompress.bench.candidate import Recognition
from kdcompress.report.measured import Facts

class Faulty:
    bytes = parameters = None
    batches = False
    def __init__(self, spec):
        self.path, self.provider = spec.path, spec.provider
        self.calls = 0
    def load(self):
        if self.path in ("nan", "mute"):
            print("a library that prints to standard output")
        if self.path == "no model":
            sys.stderr.write("first line\\nmodel.onnx does not exist\\n")
            sys.stderr.flush()
            os._exit(255)
    def facts(self):
        fallback = {"MatMul": 3} if self.path == "fallback" else {}
        return Facts(runtime="faulty 1", provider=self.provider, threads=1, fallback=fallback)
    def recognise(self, waveforms):
        self.calls += 1
        if len(waveforms[0]) > 32_000:
            match self.path:
                case "exit": os._exit(3)
                case "segfault": os.kill(os.getpid(), signal.SIGSEGV)
                case "late" if self.calls > 6: os._exit(4)
                case "nan": raise ArithmeticError("NaN")
        if self.path == "cores": return Recognition((str(sorted(os.sched_getaffinity(0))),))
        if self.path == "mute": return Recognition(("",))
        return Recognition(("a",), 0.001, 0.002, 0.003)

build = Faulty
"""


@pytest.fixture
def faulty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    (tmp_path / "faulty_worker.py").write_text(FAULTY)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    made: list[IsolatedCandidate] = []

    def make(path: str, provider: str = "cpu") -> IsolatedCandidate:
        spec = ModelSpec("faulty_worker", path, f"faulty {path}", provider=provider)  # type: ignore[arg-type]
        made.append(IsolatedCandidate(spec))
        return made[-1]

    yield make
    for candidate in made:
        candidate.close()


@pytest.fixture
def spec(tone_bundle: Path) -> ModelSpec:
    return ModelSpec(bundle.__name__, str(tone_bundle), "tones", variant="fp32")


@pytest.fixture
def tones(spec: ModelSpec) -> Iterator[IsolatedCandidate]:
    candidate = IsolatedCandidate(spec)
    yield candidate
    candidate.close()


@pytest.fixture
def few(references: list[Reference]) -> list[Reference]:
    return references[:4]  # the third is longer than two seconds


def test_it_says_what_it_would_say_here(tones: IsolatedCandidate, spec: ModelSpec, say: Say) -> None:
    tones.load()
    here = bundle.build(spec)
    here.load()
    facts = tones.facts()
    assert facts == here.facts()
    assert facts.notes == ()
    assert (tones.bytes, tones.parameters) == (here.bytes, here.parameters)
    assert tones.load_seconds > 0
    waveforms = [say("ab"), say("c a"), np.zeros(10, np.float32), np.empty(0, np.float32)]
    assert [tones.time_call([w]).texts for w in waveforms] == [("ab",), ("c a",), ("",), ("",)]
    assert tones.batches
    assert tones.time_call(waveforms).texts == here.recognise(waveforms).texts == ("ab", "c a", "", "")
    block = tones.time_block([[waveforms[0]], waveforms[:2], [waveforms[1]]])
    assert block.failed is None
    assert [call.texts for call in block.calls] == [("ab",), ("ab", "c a"), ("c a",)]
    first = block.calls[0]
    assert 0 < first.features + first.model + first.decoding < first.wall
    assert all(call.wall > 0 and call.cpu > 0 for call in block.calls)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_its_memory_is_its_own(tones: IsolatedCandidate, say: Say) -> None:
    ballast = np.ones(30_000_000)
    tones.load()
    tones.time_call([say("a")])
    first = tones.memory()
    assert first.peak_rss_bytes is not None
    assert first.model_rss_bytes is not None
    assert 0 < first.model_rss_bytes < first.peak_rss_bytes < ballast.nbytes
    assert first.gpu_bytes is None
    tones.time_call([np.zeros(16_000 * 600, np.float32)])
    later = tones.memory()
    assert later.model_rss_bytes == first.model_rss_bytes
    assert later.peak_rss_bytes is not None
    assert later.peak_rss_bytes > first.peak_rss_bytes


def test_memory_is_asked_for_before_a_profile_loads_the_graph_again(
    spec: ModelSpec, few: list[Reference]
) -> None:
    asked: list[str] = []

    class Written(IsolatedCandidate):
        def memory(self) -> Memory:
            asked.append("memory")
            return super().memory()

        def facts(self) -> Facts:
            asked.append("facts")
            return super().facts()

    run_bench([Written(spec)], few, repeats=1)
    assert asked == ["memory", "facts"]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system pins nothing")
def test_the_process_keeps_to_its_cores_and_this_one_does_not(faulty: Make, few: list[Reference]) -> None:
    core, before = min(os.sched_getaffinity(0)), os.sched_getaffinity(0)
    here: list[set[int]] = []
    report = run_bench(
        [faulty("cores")],
        few,
        repeats=1,
        affinity=(core,),
        on_progress=lambda *step: here.append(os.sched_getaffinity(0)),
    )
    assert report.results[0].hypotheses["u0"] == str([core])
    assert report.settings.affinity == (core,)
    assert all(cores == before for cores in here)
    assert report.machine.usable_cores == len(before)


def test_another_number_of_threads_is_another_process(tones: IsolatedCandidate) -> None:
    tones.cores = (0,)
    other = tones.with_threads(2)
    assert other.cores == (0,)
    other.cores = None
    assert (other.spec.threads, tones.spec.threads) == (2, 1)
    other.load()
    try:
        assert other.facts().threads == 2
        assert other.facts().options["intra_op_num_threads"] == "2"
    finally:
        other.close()
    other.close()
    with pytest.raises(RuntimeError, match=r"load\(\) comes first"):
        tones.facts()


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("no model", "cannot be loaded: its process ended with exit code 255: model.onnx does not exist"),
        ("exit", "u2: its process ended with exit code 3"),
        ("segfault", "u2: its process ended by SIGSEGV"),
        ("late", "between u0 and u3: its process ended with exit code 4"),
        ("nan", "u2: ArithmeticError: NaN"),
        ("mute", "every transcript is empty, though 4 references are not"),
    ],
)
def test_a_runtime_that_ends_or_is_mute_fails_alone(
    faulty: Make, tones: IsolatedCandidate, few: list[Reference], path: str, reason: str
) -> None:
    report = run_bench([tones, faulty(path)], few, repeats=2)
    good, bad = report.results
    assert good.failed is None
    assert good.timing is not None
    assert good.memory is not None
    assert bad.failed == reason
    assert (bad.timing, bad.accuracy, bad.memory) == (None, None, None)
    assert report.failed


def test_a_provider_that_fell_back_is_refused_unless_allowed(faulty: Make, few: list[Reference]) -> None:
    (bad,) = run_bench([faulty("fallback", "cuda")], few, repeats=1).results
    assert bad.failed is not None
    assert bad.failed.startswith("3 nodes of the model fell back from cuda: 3 MatMul")
    (allowed,) = run_bench([faulty("fallback", "cuda")], few, repeats=1, allow_fallback=True).results
    assert allowed.failed is None
    assert allowed.facts is not None
    assert any("fell back from cuda" in note for note in allowed.facts.notes)


def test_processes_end_with_the_bench(tones: IsolatedCandidate, few: list[Reference]) -> None:
    run_bench([tones], few, repeats=1)
    with pytest.raises(RuntimeError, match=r"load\(\) comes first"):
        tones.facts()


def test_what_is_asked_of_an_ended_process_is_refused(faulty: Make) -> None:
    candidate = faulty("exit")
    candidate.load()
    with pytest.raises(BenchError, match="exit code 3"):
        candidate.time_call([np.zeros(40_000, np.float32)])
    with pytest.raises(BenchError, match="exit code 3"):
        candidate.facts()

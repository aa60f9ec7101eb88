from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import torch

from kdcompress.audio.utterance import Reference, Utterance
from kdcompress.bench.candidate import ModelSpec
from kdcompress.bench.process import IsolatedCandidate
from kdcompress.bench.run import run_bench
from kdcompress.bench.runtimes import RUNTIMES
from kdcompress.config.student import ConformerConfig
from kdcompress.errors import ConfigError
from kdcompress.report.record import CandidateResult
from kdcompress.students.conformer import ConformerStudent
from kdcompress.students.weights import save_student
from kdcompress.teachers.candidate import TeacherCandidate
from kdcompress.teachers.open import open_teacher, resolve_teacher
from kdcompress.text.decode import greedy
from kdcompress.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary(("<blk>", "|", "a", "b", "c"), 0, "|")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher") / "checkpoint"
    torch.manual_seed(3)
    shape = ConformerConfig(width=16, layers=1, heads=2, kernel=3, stem_channels=4, frame_shift_ms=40)
    save_student(folder, ConformerStudent(shape, len(VOCABULARY)), VOCABULARY, {})
    return folder


def spec(path: Path, **more: object) -> ModelSpec:
    return ModelSpec(RUNTIMES["torch"], str(path), "teacher", **more)  # type: ignore[arg-type]


def measured(candidate: ModelSpec, audio: Path, text: str) -> CandidateResult:
    reference = Reference(Utterance("x", audio, 0.0, soundfile.info(audio).duration), text)
    return run_bench([IsolatedCandidate(candidate)], [reference], repeats=1).results[0]


def test_it_says_what_the_teacher_says(checkpoint: Path) -> None:
    candidate = TeacherCandidate(spec(checkpoint, threads=torch.get_num_threads()))
    assert (candidate.bytes, candidate.parameters) == (None, None)
    candidate.load()
    teacher = open_teacher(resolve_teacher(str(checkpoint)))
    noise = np.random.default_rng(0).normal(0, 0.1, (2, 20_000)).astype(np.float32)
    posteriors = teacher.posteriors(torch.from_numpy(noise), torch.full((2,), 20_000))
    found = candidate.recognise(list(noise))
    assert all(found.texts)
    assert found.texts == tuple(
        greedy(row.numpy(), VOCABULARY).text(VOCABULARY) for row in posteriors.log_probs
    )
    assert candidate.recognise(noise[:1]).texts == found.texts[:1]
    words = candidate.words(noise[0])
    assert " ".join(word for word, _, _ in words) == found.texts[0]
    assert 0 <= words[0][1] < words[-1][2] <= 20_000 / 16_000 + teacher.frame_shift
    assert found.features < found.model
    assert (candidate.bytes, candidate.parameters) == (teacher.bytes, teacher.parameters)


def test_it_is_measured_with_the_threads_that_were_asked_for(checkpoint: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", np.random.default_rng(1).normal(0, 0.1, 16_000), 16_000)
    result = measured(spec(checkpoint, threads=2), tmp_path / "x.wav", "a b")
    assert result.failed is None
    assert result.facts is not None
    assert (result.facts.provider, result.facts.threads, result.facts.features_in_model) == ("cpu", 2, True)
    assert result.facts.runtime == f"torch {torch.__version__}"


def test_a_graph_is_measured_as_what_it_runs_in(
    tiny_bundle: Path, tmp_path: Path, say: Callable[[str], npt.NDArray[np.float32]]
) -> None:
    soundfile.write(tmp_path / "x.wav", say("ab c"), 16_000)
    result = measured(spec(tiny_bundle), tmp_path / "x.wav", "ab c")
    assert result.failed is None
    assert result.facts is not None
    assert result.facts.runtime.startswith("onnxruntime ")
    assert result.accuracy is not None
    assert result.accuracy.wer.rate == 0


def test_another_precision_is_refused(checkpoint: Path) -> None:
    with pytest.raises(ConfigError, match="torch computes in fp32, fp16 or bf16 here; found 'int8'"):
        TeacherCandidate(spec(checkpoint, precision="int8"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_is_refused_where_there_is_none(checkpoint: Path) -> None:
    with pytest.raises(ConfigError, match="finds no CUDA device"):
        TeacherCandidate(spec(checkpoint, provider="cuda")).load()

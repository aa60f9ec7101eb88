from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import torch

from kdcompress.audio.utterance import Reference, Utterance
from kdcompress.bench.run import run_bench
from kdcompress.config.student import ConformerConfig
from kdcompress.config.teacher import CheckpointTeacher
from kdcompress.errors import ConfigError
from kdcompress.students.conformer import ConformerStudent
from kdcompress.students.weights import save_student
from kdcompress.teachers.candidate import TeacherCandidate
from kdcompress.teachers.open import open_teacher, resolve_teacher
from kdcompress.text.decode import greedy
from kdcompress.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary(("<blk>", "|", "a", "b", "c"), 0, "|")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> CheckpointTeacher:
    folder = tmp_path_factory.mktemp("teacher") / "checkpoint"
    torch.manual_seed(3)
    shape = ConformerConfig(width=16, layers=1, heads=2, kernel=3, stem_channels=4, frame_shift_ms=40)
    save_student(folder, ConformerStudent(shape, len(VOCABULARY)), VOCABULARY, {})
    return CheckpointTeacher(path=folder)


def test_it_says_what_the_teacher_says(config: CheckpointTeacher) -> None:
    candidate = TeacherCandidate(config, threads=torch.get_num_threads())
    assert (candidate.bytes, candidate.parameters) == (None, None)
    candidate.load()
    teacher = open_teacher(config)
    samples = np.random.default_rng(0).normal(0, 0.1, 20_000).astype(np.float32)
    posteriors = teacher.posteriors(torch.from_numpy(samples)[None], torch.tensor([len(samples)]))
    heard = candidate.recognise(samples)
    assert heard.text
    assert heard.text == greedy(posteriors.log_probs[0].numpy(), VOCABULARY).text(VOCABULARY)
    assert heard.features < heard.model
    assert (candidate.bytes, candidate.parameters) == (teacher.bytes, teacher.parameters)


def test_it_is_measured_with_the_threads_that_were_asked_for(
    config: CheckpointTeacher, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "x.wav", np.random.default_rng(1).normal(0, 0.1, 16_000), 16_000)
    before = torch.get_num_threads()
    try:
        report = run_bench(
            [TeacherCandidate(config, threads=2)],
            [Reference(Utterance("x", tmp_path / "x.wav", 0.0, 1.0), "a b")],
            repeats=1,
        )
    finally:
        torch.set_num_threads(before)
    (result,) = report.results
    assert result.failed is None
    assert result.name == "teacher"
    assert result.facts is not None
    assert (result.facts.provider, result.facts.threads, result.facts.features_in_model) == ("cpu", 2, True)
    assert result.facts.runtime == f"torch {torch.__version__}"


def test_a_graph_is_measured_as_what_it_runs_in(
    tiny_bundle: Path, tmp_path: Path, say: Callable[[str], npt.NDArray[np.float32]]
) -> None:
    soundfile.write(tmp_path / "x.wav", say("ab c"), 16_000)
    before = torch.get_num_threads()
    try:
        report = run_bench(
            [TeacherCandidate(resolve_teacher(str(tiny_bundle)), threads=before)],
            [Reference(Utterance("x", tmp_path / "x.wav", 0.0, 1.8), "ab c")],
            repeats=1,
        )
    finally:
        torch.set_num_threads(before)
    (result,) = report.results
    assert result.failed is None
    assert result.facts is not None
    assert result.facts.runtime.startswith("onnxruntime ")
    assert result.accuracy is not None
    assert result.accuracy.wer.rate == 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_is_refused_where_there_is_none(config: CheckpointTeacher) -> None:
    with pytest.raises(ConfigError, match="finds no CUDA device"):
        TeacherCandidate(config, "cuda").load()

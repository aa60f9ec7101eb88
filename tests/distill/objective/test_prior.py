"""The teacher's prior: what it is the mean of, and that a run keeps it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from kdcompress.audio.manifest import read_utterances
from kdcompress.config.pattern import BlankPrior
from kdcompress.config.recipe import Recipe
from kdcompress.distill.data.audio_batch import read_batch
from kdcompress.distill.loop import distill
from kdcompress.distill.objective.prior import estimate_prior, load_prior, save_prior
from kdcompress.distill.posteriors.memory import TeacherPosteriors
from kdcompress.errors import RunError
from kdcompress.students.weights import load_student, save_student
from kdcompress.teachers.open import open_teacher

Make = Callable[..., Recipe]


class Notes:
    """An observer that remembers the steps, and may end the run at one."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at = stop_at
        self.steps: list[dict[str, Any]] = []

    def stage(self, name: str, done: int, total: int) -> None: ...

    def step(self, step: int, total: int, figures: dict[str, Any]) -> None:
        self.steps.append(figures)
        if step == self.stop_at:
            raise KeyboardInterrupt

    def validated(self, *rest: Any) -> None: ...

    def say(self, text: str) -> None: ...


def test_the_prior_is_the_mean_posterior_of_valid_frames(recipe: Make, audio_folder: Path) -> None:
    teacher = open_teacher(recipe().teacher)
    source = TeacherPosteriors(teacher, torch.device("cpu"))
    utterances, _ = read_utterances(audio_folder)
    rows = []
    for utterance in utterances[::4]:  # five of twenty, evenly spaced
        answer = source(read_batch([utterance]))
        rows.append(answer.log_probs[0, : int(answer.lengths[0])].double().exp())
    found = estimate_prior(BlankPrior(utterances=5), utterances, source, batch_seconds=3)
    assert torch.allclose(found.double(), torch.cat(rows).mean(0).log(), atol=1e-5)
    assert float(found.exp().sum()) == pytest.approx(1, abs=1e-5)
    few = estimate_prior(BlankPrior(utterances=500), utterances[:2], source, batch_seconds=3)
    assert few.shape == found.shape


def test_a_token_that_is_never_said_has_a_finite_prior(recipe: Make, audio_folder: Path) -> None:
    source = TeacherPosteriors(open_teacher(recipe().teacher), torch.device("cpu"))

    def mute(batch: Any) -> Any:
        answer = source(batch)
        answer.log_probs[..., 3] = -torch.inf
        return answer

    utterances, _ = read_utterances(audio_folder)
    found = estimate_prior(BlankPrior(utterances=2), utterances, mute, batch_seconds=3)
    assert torch.isfinite(found).all()
    corrected = torch.tensor([-1.0, -2.0, -1.0, -torch.inf, -3.0]) - 0.5 * found
    assert int(corrected.argmax()) != 3, "and does not become a label by it"


def test_it_is_kept_to_the_last_digit(tmp_path: Path) -> None:
    prior = torch.rand(9, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    save_prior(tmp_path / "prior.json", prior)
    assert torch.equal(load_prior(tmp_path / "prior.json"), prior)
    for damage in ("", "{}", "[1", '{"log_prior": ["a"]}'):
        (tmp_path / "prior.json").write_text(damage)
        with pytest.raises(RunError, match="begin the run anew") as caught:
            load_prior(tmp_path / "prior.json")
        assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def often_blank(audio_folder: Path, teacher_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the random teacher's checkpoint, biased to say blank in about six of ten frames."""
    found = load_student(teacher_folder)
    batch = read_batch(read_utterances(audio_folder)[0])
    with torch.no_grad():
        log_probs, lengths = found.model.eval()(batch.waveforms, batch.lengths)
        heard = log_probs[torch.arange(log_probs.shape[1]) < lengths[:, None]]
        found.model.head.bias[0] += (heard[:, 1:].amax(-1) - heard[:, 0]).quantile(0.6)
    folder = tmp_path_factory.mktemp("often-blank") / "checkpoint"
    save_student(folder, found.model, found.vocabulary, {})
    return folder


SELECTIONS: dict[str, dict[str, Any]] = {
    "random": {"kind": "random", "ratio": 0.5, "prior": {"weight": 1.0, "utterances": 6}},
    "threshold": {"kind": "threshold", "mass": 0.6, "start_epoch": 1},
    "growing": {
        "kind": "sides",
        "left": {"frames": 1},
        "start_epoch": 1,
        "grow": {"by": {"ms": 40}, "limit": {"frames": 3}},
        "prior": {"utterances": 6},
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SELECTIONS)
def test_a_run_with_a_draw_a_schedule_or_a_prior_goes_on_exactly(
    recipe: Make, often_blank: Path, tmp_path: Path, name: str
) -> None:
    teacher = {"kind": "checkpoint", "path": str(often_blank)}
    made, whole = recipe(teacher=teacher, objective={"selection": SELECTIONS[name]}), Notes()
    distill(made, tmp_path / "whole", whole)
    path = tmp_path / "run" / "data" / "prior.json"
    with pytest.raises(KeyboardInterrupt):
        distill(made, tmp_path / "run", Notes(stop_at=5))
    if "prior" in SELECTIONS[name]:
        assert len(json.loads(path.read_text())["log_prior"]) == 5
    resumed = Notes()
    distill(None, tmp_path / "run", resumed, resume=True)
    assert resumed.steps == whole.steps[3:], "from the checkpoint of step 3 on"
    if SELECTIONS[name].get("start_epoch"):
        shares = {figures["selected_share"] for figures in whole.steps if figures["epoch"] == 0}
        assert shares == {1.0}, "all frames before the start epoch"
    later = [figures["selected_share"] for figures in whole.steps if figures["epoch"] > 0]
    assert 0 < min(later) < 1, later


def test_a_resumed_run_reads_the_prior_and_a_new_one_does_not(recipe: Make, tmp_path: Path) -> None:
    selection = {"kind": "eliminate", "prior": {"weight": 1.0, "utterances": 4}}
    made, run = recipe(objective={"selection": selection}, training__steps=4), tmp_path / "run"
    path = run / "data" / "prior.json"
    path.parent.mkdir(parents=True)
    save_prior(path, torch.zeros(5))  # left by a run that ended before its first step
    with pytest.raises(KeyboardInterrupt):
        distill(made, run, Notes(stop_at=4))
    assert load_prior(path).any()
    never = torch.tensor([-200.0, 0.0, 0.0, 0.0, 0.0])  # whatever it says, all is blank
    save_prior(path, never)
    resumed = Notes()
    distill(None, run, resumed, resume=True)
    assert [figures["selected_share"] for figures in resumed.steps] == [0.0]
    assert torch.equal(load_prior(path), never)

import pytest

from kdcompress.config.recipe import Recipe, make_recipe
from kdcompress.distill.budget import describe_budget, duration


def test_the_default_budget_is_said_in_hours_and_shortened_on_a_cpu() -> None:
    line = describe_budget(Recipe(), 10.0, 1, cpu=True)
    assert line.startswith(
        "20000 steps of 120 s: at most 667 h of audio, padding included, 66.7 times what there is; on a CPU"
    )
    assert "on a CPU" not in describe_budget(Recipe(), 10.0, 1, cpu=False)


def test_what_a_cpu_is_advised_is_no_longer_too_much() -> None:
    words = describe_budget(Recipe(), 10.0, 1, cpu=True).split("first: ")[1].split()
    overrides = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    recipe = make_recipe({"student": {"preset": words[words.index("--preset") + 1]}}, overrides, "advice")
    assert describe_budget(recipe, 0.0, 1, cpu=True) == (
        "2000 steps of 30 s: at most 16.7 h of audio, padding included"
    )


def test_every_process_and_accumulated_batch_counts() -> None:
    recipe = make_recipe({}, ["training.steps=10", "training.accumulate=3", "data.batch_seconds=60"], "r")
    assert describe_budget(recipe, 1.0, 4, cpu=True) == (
        "10 steps of 720 s: at most 2 h of audio, padding included, 2 times what there is"
    )


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (89, "89 s"), (90, "1.5 min"), (5399, "90.0 min"), (5400, "1.5 h")]
)
def test_durations_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text

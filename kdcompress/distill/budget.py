"""What a run will take, said before it takes it."""

from kdcompress.config.recipe import Recipe

_MUCH_FOR_A_CPU = 50.0  # [h] of audio: some hours of training on a few cores


def describe_budget(recipe: Recipe, hours: float, processes: int, cpu: bool) -> str:
    """Return a line on the audio that a run trains on, and how to shorten it where that is long for a CPU.

    Args:
        hours: of training audio [h].
        processes: that train together.
        cpu: whether there is no GPU.
    """
    training, batch = recipe.training, recipe.data.batch_seconds
    steps = f"{training.steps} steps of {batch * training.accumulate * processes:g} s"
    planned = training.steps * batch * training.accumulate * processes / 3600
    line = f"{steps}: at most {planned:.3g} h of audio, padding included"
    if hours > 0:
        line += f", {planned / hours:.3g} times what there is"
    if cpu and planned > _MUCH_FOR_A_CPU:
        line += (
            "; on a CPU try less first: --set training.steps=2000 --set data.batch_seconds=30 "
            "--preset 0.6M (2000 × 30 s are 17 h)"
        )
    return line


def duration(seconds: float) -> str:
    """Return a duration for people: `40 s`, `12.5 min`, `3.1 h`."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"

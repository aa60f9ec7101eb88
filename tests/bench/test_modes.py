import itertools
import re

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdcompress.bench.modes import dip, find_modes

Values = npt.NDArray[np.float64]


def excess_mass(values: Values) -> float:
    """Half the most that two intervals hold above a density, beyond what one does: equals the dip.

    Source: D. W. Müller and G. Sawitzki, Excess mass estimates and tests for multimodality (1991).
    """
    x = np.sort(values)
    spans = [
        (i, j, (j - i + 1) / len(x), x[j] - x[i])
        for i, j in itertools.combinations_with_replacement(range(len(x)), 2)
    ]
    one = np.array([(mass, length) for *_, mass, length in spans])
    two = np.array(
        [(a[2] + b[2], a[3] + b[3]) for a in spans for b in spans if a[1] < b[0]] + one.tolist(), np.float64
    )
    rise, run = (two[:, None, k] - two[None, :, k] for k in (0, 1))
    densities = np.unique(rise[run > 1e-9] / run[run > 1e-9])
    best = 0.0
    for some in np.array_split(densities[densities > 0], 20):
        if len(some):
            held = [(kind[:, 0] - some[:, None] * kind[:, 1]).max(axis=1) for kind in (two, one)]
            best = max(best, float((held[0] - held[1]).max()))
    return best / 2


@pytest.mark.parametrize("count", [4, 5, 6, 7])
def test_the_dip_is_half_the_excess_mass(count: int) -> None:
    rng = np.random.default_rng(count)
    for far in (0.0, 1.0, 5.0):
        values = rng.normal(size=count) + far * (np.arange(count) % 2)
        assert dip(values) == pytest.approx(excess_mass(values), abs=1e-6)


@given(st.lists(st.integers(0, 40), min_size=2, max_size=30), st.floats(0.1, 10))
def test_the_dip_has_bounds_and_no_unit(values: list[int], factor: float) -> None:
    numbers = np.array(values, np.float64)
    found = dip(numbers)
    assert 1 / (2 * len(values)) - 1e-9 <= found <= 0.25 + 1e-9
    assert dip(3 + factor * numbers) == pytest.approx(found, abs=1e-6)
    assert dip(-numbers) == pytest.approx(found, abs=1e-6)


def test_the_dip_of_one_mode_and_of_two() -> None:
    assert dip(np.arange(50.0)) == pytest.approx(0.01)
    assert dip(np.zeros(50)) == pytest.approx(0.01)
    assert dip(np.concatenate([np.arange(50.0), 1e6 + np.arange(50.0)])) == pytest.approx(0.25, abs=0.01)


UTTERANCES, REPEATS = 60, 5
SAID = re.compile(r"(\d+)% of the (calls|utterances) take ([\d.]+) times as long as the others for .+")


def found(rng: np.random.Generator, noise: Values, durations: Values | None = None) -> str | None:
    """Look at seconds that grow with the duration, a little faster than it, under noise [U, R]."""
    lengths = rng.uniform(1, 16, len(noise)) if durations is None else durations
    seconds = (0.002 + 0.01 * lengths + 0.0002 * lengths**2)[:, None] * noise
    names = [str(i) for i in range(len(noise))]
    return find_modes(dict(zip(names, lengths, strict=True)), dict(zip(names, seconds, strict=True)))


SHAPE = (UTTERANCES, REPEATS)


@pytest.mark.parametrize(
    "noise",
    [
        lambda rng: np.exp(0.05 * rng.normal(size=SHAPE)),
        lambda rng: 1 + 0.2 * rng.exponential(size=SHAPE),
        lambda rng: 1 + rng.uniform(0, 0.5, SHAPE),
        lambda rng: np.exp(0.3 * rng.standard_t(3, size=SHAPE).clip(-5, 5)),
    ],
    ids=["normal", "exponential", "uniform", "heavy-tailed"],
)
def test_one_speed_rarely_looks_like_two(noise: object) -> None:
    rng = np.random.default_rng(0)
    alarms = sum(found(rng, noise(rng)) is not None for _ in range(60))  # type: ignore[operator]
    assert alarms <= 2  # the stated rate is one in a hundred at most


def test_lengths_of_two_kinds_are_no_speeds_of_two_kinds() -> None:
    rng = np.random.default_rng(1)
    durations = np.concatenate([rng.uniform(1.5, 2, 30), rng.uniform(25, 30, 30)])
    assert found(rng, np.exp(0.03 * rng.normal(size=SHAPE)), durations) is None


@pytest.mark.parametrize(("share", "ratio"), [(0.5, 1.5), (0.3, 1.5), (0.25, 2.0), (0.7, 1.3)])
def test_calls_of_two_kinds_are_found(share: float, ratio: float) -> None:
    rng = np.random.default_rng(2)
    for _ in range(10):
        slow = rng.random(SHAPE) < share
        noise = np.where(slow, ratio, 1.0) * np.exp(0.04 * rng.normal(size=SHAPE))
        told = SAID.fullmatch(found(rng, noise) or "")
        assert told is not None
        assert told[2] == "calls"
        assert float(told[3]) == pytest.approx(ratio, rel=0.1)
        assert int(told[1]) / 100 == pytest.approx(share, abs=0.25)


def test_utterances_of_two_kinds_are_found() -> None:
    rng = np.random.default_rng(3)
    slow = (np.arange(UTTERANCES) % 3 == 0)[:, None]
    for _ in range(10):
        noise = np.where(slow, 1.6, 1.0) * np.exp(0.04 * rng.normal(size=SHAPE))
        told = SAID.fullmatch(found(rng, noise) or "")
        assert told is not None
        assert told[2] == "utterances"
        assert float(told[3]) == pytest.approx(1.6, rel=0.1)
        assert int(told[1]) == pytest.approx(33, abs=4)


def test_modes_that_differ_by_nothing_that_matters_are_not_told() -> None:
    rng = np.random.default_rng(4)
    slow = rng.random(SHAPE) < 0.5
    assert found(rng, np.where(slow, 1.05, 1.0) * np.exp(0.002 * rng.normal(size=SHAPE))) is None


def test_too_few_calls_say_nothing() -> None:
    assert find_modes({"a": 1.0}, {"a": [1.0, 2.0, 1.0, 2.0]}) is None
    assert find_modes({}, {}) is None

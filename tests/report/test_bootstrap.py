"""The bootstrap over seeds and utterances, against what must hold of it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdcompress.errors import BenchError
from kdcompress.report.accuracy import bootstrap_interval
from kdcompress.report.bootstrap import difference, rate


def draw(seed: int, seeds: int = 3, utterances: int = 60, p: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    reference = rng.integers(1, 9, utterances)
    return rng.binomial(reference, p, (seeds, utterances)), reference


@given(seed=st.integers(0, 1000), seeds=st.integers(1, 4))
@settings(max_examples=15, deadline=None)
def test_the_estimate_lies_in_its_interval_and_a_method_equals_itself(seed: int, seeds: int) -> None:
    errors, reference = draw(seed, seeds)
    found = rate(errors, reference)
    assert found.low <= found.value <= found.high
    assert found.value == pytest.approx(errors.sum() / seeds / reference.sum())
    same = difference(errors, errors, reference)
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)


def test_with_one_seed_it_is_the_ordinary_bootstrap() -> None:
    errors, reference = draw(1, seeds=1, utterances=200)
    ordinary = bootstrap_interval(errors[0], reference)
    found = rate(errors, reference)
    assert (found.low, found.high) == pytest.approx(ordinary, abs=0.004)


def test_pairing_narrows_the_interval_and_a_real_difference_shows() -> None:
    errors, reference = draw(2)
    worse = errors + (np.arange(60) % 5 == 0)
    found = difference(worse, errors, reference)
    assert found.value == pytest.approx(12 / reference.sum())
    assert found.low > 0
    assert found.p is not None
    assert found.p < 0.01
    alone = rate(errors, reference)
    assert found.high - found.low < alone.high - alone.low
    mirrored = difference(errors, worse, reference)
    assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low))


def test_seeds_that_disagree_widen_the_interval() -> None:
    errors, reference = draw(3)
    apart = errors.copy()
    apart[0] += 1
    calm, wild = rate(errors, reference), rate(apart, reference)
    assert wild.high - wild.low > 2 * (calm.high - calm.low)


def test_what_does_not_fit_is_refused() -> None:
    errors, reference = draw(4)
    with pytest.raises(BenchError, match="not \\[seeds"):
        rate(errors, reference[:-1])
    with pytest.raises(BenchError, match="no word"):
        rate(errors, np.zeros_like(reference))
    with pytest.raises(BenchError, match="3 seeds against 2"):
        difference(errors, errors[:2], reference)

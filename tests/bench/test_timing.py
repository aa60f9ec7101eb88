import time

import pytest

from kdcompress.bench.timing import Clock, paired_speed
from kdcompress.report.measured import Latency, Spread


def test_a_spread_is_median_and_extremes() -> None:
    assert Spread.of([3.0, 1.0, 10.0]) == Spread(3.0, 1.0, 10.0, 3)
    with pytest.raises(ValueError, match="at least one"):
        Spread.of([])


def test_latency_percentiles() -> None:
    assert Latency.of([i / 100 for i in range(101)]) == Latency(0.5, 0.9, 0.99)


def test_a_slow_spell_that_both_meet_cancels_out() -> None:
    assert paired_speed([1.0, 10.0, 1.0], [0.5, 5.0, 0.5]) == Spread(2.0, 2.0, 2.0, 3)
    with pytest.raises(ValueError, match="shorter"):
        paired_speed([1.0, 1.0], [1.0])


def test_the_clock_tells_waiting_from_working() -> None:
    with Clock() as waiting:
        time.sleep(0.05)
    with Clock() as working:
        total = sum(range(300_000))
    assert total > 0
    assert waiting.wall >= 0.05
    assert waiting.cpu < waiting.wall / 2
    assert working.cpu > 0

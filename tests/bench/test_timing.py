import time

import numpy as np
import pytest

from kdcompress.bench.timing import Clock, by_duration, paired_speed
from kdcompress.report.measured import Latency, Spread


def test_a_spread_is_median_and_extremes() -> None:
    assert Spread.of([3.0, 1.0, 10.0]) == Spread(median=3.0, low=1.0, high=10.0, repeats=3)
    with pytest.raises(ValueError, match="at least one"):
        Spread.of([])


def test_latency_percentiles() -> None:
    assert Latency.of([i / 100 for i in range(101)]) == Latency(p50=0.5, p90=0.9, p99=0.99)


def test_a_slow_spell_that_both_meet_cancels_out() -> None:
    assert paired_speed([1.0, 10.0, 1.0], [0.5, 5.0, 0.5]) == Spread(median=2.0, low=2.0, high=2.0, repeats=3)
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


def test_every_call_is_in_the_bucket_of_its_duration() -> None:
    rng = np.random.default_rng(0)
    calls = [(float(d), [float(t) for t in rng.random(3)]) for d in rng.uniform(0, 60, 100)]
    buckets = by_duration(calls)
    for bucket in buckets:
        end = bucket.end or float("inf")
        inside = [times for seconds, times in calls if bucket.start <= seconds < end]
        assert bucket.utterances == len(inside)
        latency = Latency.of([t for times in inside for t in times])
        assert (bucket.p50, bucket.p90, bucket.p99) == (latency.p50, latency.p90, latency.p99)
    assert sum(bucket.utterances for bucket in buckets) == 100
    assert buckets[-1].end is None
    assert [bucket.start for bucket in buckets] == sorted(bucket.start for bucket in buckets)


def test_limits_belong_to_the_longer_and_empty_buckets_are_left_out() -> None:
    buckets = by_duration([(2.0, [0.1]), (4.99, [0.3]), (30.0, [1.0]), (0.5, [])])
    assert [(b.start, b.end, b.utterances) for b in buckets] == [(2.0, 5.0, 2), (30.0, None, 1)]
    assert list(buckets[0].model_dump(by_alias=True)) == ["from", "to", "utterances", "p50", "p90", "p99"]

import numpy as np
import pytest

from kdcompress.bench.buckets import by_duration
from kdcompress.report.measured import Latency


def test_every_call_is_in_the_bucket_of_its_duration() -> None:
    rng = np.random.default_rng(0)
    calls = [(float(d), [float(t) for t in rng.random(3)]) for d in rng.uniform(0, 60, 100)]
    buckets = by_duration(calls)
    for bucket in buckets:
        end = bucket.end or float("inf")
        inside = [times for seconds, times in calls if bucket.start <= seconds < end]
        assert bucket.utterances == len(inside)
        assert bucket.latency == Latency.of([t for times in inside for t in times])
    assert sum(bucket.utterances for bucket in buckets) == 100
    assert buckets[-1].end is None
    assert [bucket.start for bucket in buckets] == sorted(bucket.start for bucket in buckets)


def test_limits_belong_to_the_longer_and_empty_buckets_are_left_out() -> None:
    buckets = by_duration([(2.0, [0.1]), (4.99, [0.3]), (30.0, [1.0]), (0.5, [])])
    assert [(b.start, b.end, b.utterances) for b in buckets] == [(2.0, 5.0, 2), (30.0, None, 1)]
    assert buckets[0].to_json() == {
        "from": 2.0,
        "to": 5.0,
        "utterances": 2,
        "p50": pytest.approx(0.2),
        "p90": pytest.approx(0.28),
        "p99": pytest.approx(0.298),
    }
    assert buckets[1].to_json()["to"] is None

"""Latency by the length of the audio: a mean over all lengths describes no request."""

from collections.abc import Iterable

from kdcompress.report.measured import Bucket, Latency

# [s]; what falls between two of them is one bucket. Buckets that nothing falls into are left out.
EDGES = (0.0, 2.0, 5.0, 10.0, 20.0, 30.0)


def by_duration(calls: Iterable[tuple[float, list[float]]]) -> tuple[Bucket, ...]:
    """Sort utterances into buckets.

    Args:
        calls: of each utterance, its duration and the time of each of its repeats [s].
    """
    sorted_calls = [(seconds, times) for seconds, times in calls if times]
    buckets = []
    for start, end in zip(EDGES, (*EDGES[1:], None), strict=True):
        inside = [times for seconds, times in sorted_calls if start <= seconds < (end or float("inf"))]
        if inside:
            latency = Latency.of([time for times in inside for time in times])
            buckets.append(Bucket(start, end, len(inside), latency))
    return tuple(buckets)

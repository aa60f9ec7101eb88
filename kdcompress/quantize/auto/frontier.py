"""Bytes, time and KL of what a search tried: the best of each, fairly timed."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import onnx

from kdcompress.quantize.auto.budget import Search
from kdcompress.quantize.auto.evaluate import QuantizationEvaluator, Trial
from kdcompress.quantize.calibration import opened
from kdcompress.runtime.compare import Feed
from kdcompress.runtime.session import GraphSession

_SECONDS = 20.0  # of audio in a pass, if there is so much
_FRAMES_PER_SECOND = 100
_PASSES = 5


def frontier(trials: Sequence[Trial]) -> list[Trial]:
    """Return those that no other beats in bytes, in integer products and in KL at once."""

    def figures(trial: Trial) -> tuple[float, float, float]:
        return trial.bytes, trial.slow_weights, trial.kl

    return [
        one
        for one in trials
        if not any(
            other is not one
            and figures(other) != figures(one)
            and all(theirs <= ours for theirs, ours in zip(figures(other), figures(one), strict=True))
            for other in trials
        )
    ]


def describe(
    found: Search,
    evaluator: QuantizationEvaluator,
    *,
    passes: int = _PASSES,
    on_pass: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Return a search as plain data, with the times of its frontier.

    `time` is the time of the graph as a multiple of the float one's on one thread: lowest, median and highest
    of some passes over the same audio, interleaved so that a slow moment of the machine is slow for all.
    Nothing is chosen by it.
    """
    data = found.to_json()
    best = frontier(found.trials)
    if found.chosen is not None and found.chosen not in best:
        best.append(found.chosen)
    ratios = _ratios([evaluator.build(trial.assignment) for trial in best], evaluator, passes, on_pass)
    times = {trial.name: ratio for trial, ratio in zip(best, ratios, strict=True)}
    for entry in data["tried"]:
        entry["on_frontier"] = entry["name"] in times
        if entry["on_frontier"]:
            low, median, high = np.quantile(times[entry["name"]], [0, 0.5, 1]).tolist()
            entry["time"] = {"low": round(low, 4), "median": round(median, 4), "high": round(high, 4)}
    return {**data, "fp32_bytes": evaluator.model.ByteSize()}


def _ratios(
    models: Sequence[onnx.ModelProto],
    evaluator: QuantizationEvaluator,
    passes: int,
    on_pass: Callable[[int, int], None] | None,
) -> list[list[float]]:
    feeds = _some(evaluator.feeds)
    seconds: list[list[float]] = []
    with ExitStack() as stack:
        sessions = [stack.enter_context(opened(model, threads=1)) for model in (evaluator.model, *models)]
        for session in sessions:
            _seconds(session, feeds[:1])  # warm
        for turn in range(passes):
            if on_pass is not None:
                on_pass(turn, passes)
            first = turn % len(sessions)
            order = [*range(first, len(sessions)), *range(first)]
            taken = {index: _seconds(sessions[index], feeds) for index in order}
            seconds.append([taken[index] for index in range(len(sessions))])
    return [[row[index] / row[0] for row in seconds] for index in range(1, len(models) + 1)]


def _seconds(session: GraphSession, feeds: Sequence[Feed]) -> float:
    begin = time.perf_counter()
    for feed in feeds:
        session.session.run(None, dict(feed))
    return time.perf_counter() - begin


def _some(feeds: Sequence[Feed]) -> list[Feed]:
    """Return the first utterances, of about twenty seconds together."""
    some: list[Feed] = []
    values = 0.0
    for feed in feeds:
        some.append(feed)
        values += max(array.size for array in feed.values())
        # Features have 80 values a hop; a graph that takes samples gets fewer seconds, which is as good.
        if values >= _SECONDS * _FRAMES_PER_SECOND * 80:
            break
    return some

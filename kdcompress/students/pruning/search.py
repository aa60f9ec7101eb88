"""Find the student within a budget that says most of what its teacher says, without a transcript or training.

In rounds: every cut of the student as it is now is measured alone; those that cost the least divergence for
what they save are made together, and everything that is left is refitted towards the teacher. What a cut
costs is then measured anew, for cuts add up only while they are small. The last student is compared with one
that is cut out of the teacher at once, at the same sizes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from kdcompress.aliases import StageProgress
from kdcompress.audio.utterance import SAMPLE_RATE
from kdcompress.errors import AudioError, ConfigError
from kdcompress.runtime.compare import TextDifference
from kdcompress.students.pruning.anatomy import Anatomy
from kdcompress.students.pruning.budget import Budget
from kdcompress.students.pruning.cost import BYTES, Costs, byte_costs, time_costs, time_ratios
from kdcompress.students.pruning.probe import Calibration, Sensitivity, measurements, probe
from kdcompress.students.pruning.prune import Cut, Place, Pruned, prune
from kdcompress.students.student import Student
from kdcompress.text.vocabulary import Vocabulary

_ROUND = 0.75  # of the cost is left after a round
_MOST_ROUNDS = 4  # more than planned: where time falls more slowly than counted, or parts end at half
_CHECK_SECONDS = 40.0
_FIT_SECONDS = 120.0
_TIMED = 20.0  # [s] of audio


@dataclass(frozen=True)
class Trial:
    """A student on the frontier.

    Attributes:
        places: of its layers in the teacher.
        bytes: of its weights in float32.
        kl: mean over frames of KL(teacher ‖ student) on audio that nothing was fitted on [nats].
        words: its greedy transcripts of that audio against the teacher's.
        time: low, median and high of its time as a multiple of the teacher's, on one thread.
    """

    student: Student
    places: tuple[Place, ...]
    bytes: int
    kl: float
    words: TextDifference
    time: list[float]

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        low, median, high = (round(value, 4) for value in self.time)
        return {
            "bytes": self.bytes,
            "kl": self.kl,
            "disagreement": round(self.words.disagreement, 4),
            "time": {"low": low, "median": median, "high": high},
            "layers": [place.origin for place in self.places],
            "sizes": self.student.anatomy().sizes(),
        }


@dataclass(frozen=True)
class Frontier:
    """What a search found.

    Attributes:
        trials: from the teacher itself to the smallest, which is within the budget.
    """

    budget: Budget
    trials: list[Trial]

    @property
    def chosen(self) -> Trial:
        """The student within the budget."""
        return self.trials[-1]

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        teacher = self.trials[0].bytes
        tried = [trial.to_json() | {"share": round(trial.bytes / teacher, 4)} for trial in self.trials]
        budget = {"kind": self.budget.kind, "share": self.budget.share, "bytes": self.budget.bytes}
        return {"kind": "kdcompress-frontier", "schema": 1, "budget": budget, "tried": tried}


def search(
    teacher: Student,
    vocabulary: Vocabulary,
    budget: Budget,
    sounds: Sequence[Tensor],
    on_progress: StageProgress | None = None,
    *,
    strict: bool = True,
) -> Frontier:
    """Cut a student out of a teacher until it is within a budget.

    Args:
        teacher: in eval mode.
        vocabulary: its units.
        sounds: waveforms [S]; eight minutes are enough. Every fourth is measured on, up to forty
            seconds of them.
        on_progress: called with what is being done.
        strict: whether a budget that cannot be reached is an error; else the frontier ends before it.

    Raises:
        AudioError: there are fewer than two waveforms.
        ConfigError: students of this kind cannot be cut, or not so far.
    """
    calibration, fit = calibration_of(teacher, sounds)
    timed = _first_seconds(sounds, _TIMED)
    whole = byte_costs(teacher)
    share = budget.of(int(whole.total))
    planned = max(1, math.ceil(math.log(share) / math.log(_ROUND)))
    rounds = planned + _MOST_ROUNDS
    progress = _Rounds(on_progress, planned * (measurements(teacher) + 1) + 1)
    places = tuple(Place(index, index + 1) for index in range(len(whole.layers)))
    now = Pruned(teacher, places)
    trials = [_trial(now, calibration, teacher, vocabulary, timed)]
    reached = 1.0
    for turn in range(rounds):
        wanted = share ** min(1.0, (turn + 1) / planned)
        progress.name = f"Cutting to {wanted:.0%}"
        costs = byte_costs(now.student) if budget.kind == "bytes" else time_costs(now.student, timed)
        costed = probe(now.student, teacher, now.places, calibration, progress.step)
        target = costs.total * wanted / reached
        cut = plan(now.student.anatomy(), costs, costed, target)
        if cut is None:
            break
        now = prune(now.student, cut, calibration.fit, teacher=teacher, places=now.places, coarse=True)
        progress.step()
        trials.append(_trial(now, calibration, teacher, vocabulary, timed))
        last = trials[-1]
        reached = last.bytes / whole.total if budget.kind == "bytes" else last.time[1]
        if reached <= share:
            break
    if strict and reached > share:
        raise ConfigError(
            f"the budget cannot be reached: the smallest student has {reached:.3f} of the teacher's "
            f"{budget.kind}, {share:.3f} was asked for"
        )
    progress.name = "Refitting"
    at_once = _at_once(teacher, now, fit)
    progress.step()
    said = calibration.said_by(at_once.student)
    if (kl := calibration.divergence(said)) <= trials[-1].kl:
        words = calibration.differences(said, vocabulary)
        trials[-1] = replace(trials[-1], student=at_once.student, kl=kl, words=words)
    return Frontier(budget, trials)


def plan(anatomy: Anatomy, costs: Costs, costed: Sensitivity, target: float) -> Cut | None:
    """Choose cuts that bring a student to a cost: those with the least divergence for what they save.

    At most one layer in six goes in a round, and of neighbours one: what two cost together is not measured.

    Returns:
        The cuts; None where there is nothing left to cut.
    """
    whole = anatomy.sizes()
    sizes = dict(whole)
    layer_of = {part.name: n for n, layer in enumerate(anatomy.layers) for part in layer.parts}
    left = dict(enumerate(costs.layers))  # what dropping a layer still saves
    spent = dict.fromkeys(left, 0.0)  # divergence that goes with a dropped layer's cuts
    dropped: set[int] = set()
    most = -(-len(left) // 6) if len(left) > 1 else 0
    total = costs.total
    while total > target:
        moves: list[tuple[float, str, int]] = []
        for name, curve in costed.parts.items():
            if layer_of.get(name) not in dropped:
                now = curve.get(sizes[name], 0.0)
                for size in (size for size in curve if size < sizes[name]):
                    gain = (sizes[name] - size) * costs.units[name]
                    moves.append((max(curve[size] - now, 0.0) / gain, name, size))
        for layer, kl in costed.layers.items():
            if len(dropped) < most and not {layer - 1, layer, layer + 1} & dropped:
                moves.append((max(kl - spent[layer], 0.0) / left[layer], "", layer))
        if not moves:
            break
        _, name, size = min(moves)
        if not name:
            total -= left[size]
            dropped.add(size)
            continue
        gain = (sizes[name] - size) * costs.units[name]
        total -= gain
        if (number := layer_of.get(name)) is not None:
            left[number] -= gain
            spent[number] += costed.parts[name][size] - costed.parts[name].get(sizes[name], 0.0)
        sizes[name] = size
    changed = {n: s for n, s in sizes.items() if s != whole[n] and layer_of.get(n) not in dropped}
    return Cut(changed, frozenset(dropped)) if changed or dropped else None


def _at_once(teacher: Student, found: Pruned, fit: Sequence[Tensor]) -> Pruned:
    """Cut the same sizes and layers out of the teacher, without the steps between."""
    sizes: dict[str, int] = {}
    anatomy = found.student.anatomy()
    names = teacher.anatomy().layers
    for place, layer in zip(found.places, anatomy.layers, strict=True):
        pairs = zip(names[place.origin].parts, layer.parts, strict=True)
        sizes |= {theirs.name: ours.units for theirs, ours in pairs}
    sizes |= {part.name: part.units for part in anatomy.front}
    kept = {place.origin for place in found.places}
    return prune(teacher, Cut(sizes, frozenset(set(range(len(names))) - kept)), fit)


def _trial(
    found: Pruned, calibration: Calibration, teacher: Student, vocabulary: Vocabulary, timed: Sequence[Tensor]
) -> Trial:
    said = calibration.said_by(found.student)
    return Trial(
        found.student,
        found.places,
        BYTES * found.student.parameter_count(),
        calibration.divergence(said),
        calibration.differences(said, vocabulary),
        [1.0] * 3 if found.student is teacher else time_ratios([teacher, found.student], timed)[1],
    )


def calibration_of(teacher: Student, sounds: Sequence[Tensor]) -> tuple[Calibration, list[Tensor]]:
    """Share waveforms out: to measure on, to fit on in the search, and all to fit on in the end."""
    if len(sounds) < 2:
        raise AudioError("no audio could be read to choose cuts by: expected two files at least")
    check = _first_seconds(sounds[::4], _CHECK_SECONDS)
    chosen = {id(sound) for sound in check}
    fit = [sound for sound in sounds if id(sound) not in chosen]
    return Calibration.of(teacher, _first_seconds(fit, _FIT_SECONDS), check), fit


def _first_seconds(sounds: Sequence[Tensor], most: float) -> list[Tensor]:
    """Return evenly spaced waveforms of about so many seconds together."""
    total = sum(map(len, sounds)) / SAMPLE_RATE
    return list(sounds[:: max(1, round(total / most))])


class _Rounds:
    """Counts measurements."""

    def __init__(self, on_progress: StageProgress | None, total: int) -> None:
        self._on_progress, self._done, self._total = on_progress, 0, total
        self.name = ""

    def step(self) -> None:
        self._done += 1
        self._total = max(self._total, self._done)
        if self._on_progress is not None:
            self._on_progress(self.name, self._done, self._total)

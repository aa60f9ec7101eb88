"""What each cut would do to a student's output, each measured alone, without a transcript.

What a part costs at every size is not measured for each: small costs add up, and grow with the squared error
that is left of what the part adds to the stream. One cut of each part, to half of its units, gives the line.
Below that it is not drawn: what was next to free at half has cost a hundred times as much at a tenth.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from kdcompress.runtime.compare import TextDifference, text_difference
from kdcompress.students.pruning.anatomy import Anatomy, Layer, Part
from kdcompress.students.pruning.moments import Moments, rank_units
from kdcompress.students.pruning.prune import (
    LIGHT_PULL,
    Place,
    front_moments,
    layer_moments,
    prune_front,
    replace_norm,
    targets_of,
)
from kdcompress.students.pruning.streams import Stream, entering
from kdcompress.students.student import Student
from kdcompress.text.vocabulary import Vocabulary

_STEPS = 16  # sizes that a part may have
_ALIGNED = 8  # units; sizes are multiples of it where there are many


@dataclass(frozen=True)
class Calibration:
    """Audio for a search.

    Attributes:
        fit: waveforms [S] that maps are fitted on.
        check: others, that divergences are measured on.
        wanted: the teacher's log-probabilities [1, T, V] on these.
    """

    fit: list[Tensor]
    check: list[Tensor]
    wanted: list[Tensor]

    @classmethod
    @torch.no_grad()
    def of(cls, teacher: Student, fit: list[Tensor], check: list[Tensor]) -> "Calibration":
        """Run the teacher on what is measured on."""
        made = cls(fit, check, [])
        return replace(made, wanted=made.said_by(teacher))

    def divergence(self, said: Sequence[Tensor]) -> float:
        """Return the mean over frames of KL(teacher ‖ student) [nats]."""
        pairs = zip(self.wanted, said, strict=True)
        sums = [float((p.exp() * (p - q)).sum()) for p, q in pairs]
        return sum(sums) / sum(p.shape[1] for p in self.wanted)

    @torch.no_grad()
    def said_by(self, student: Student) -> list[Tensor]:
        """Return a student's log-probabilities."""
        device = next(student.parameters()).device
        return [student(x[None].to(device), torch.tensor([len(x)], device=device))[0] for x in self.check]

    def of_student(self, student: Student) -> float:
        """Return the divergence of a student."""
        return self.divergence(self.said_by(student))

    def differences(self, said: Sequence[Tensor], vocabulary: Vocabulary) -> TextDifference:
        """Return a student's greedy transcripts against the teacher's."""
        theirs, ours = ([x[0].cpu().numpy() for x in rows] for rows in (self.wanted, said))
        return text_difference(theirs, ours, vocabulary)


@dataclass
class Sensitivity:
    """What cuts cost, each alone [nats per frame].

    Attributes:
        parts: by name, and by the units that are left.
        layers: by number: what dropping the layer costs.
    """

    parts: dict[str, dict[int, float]] = field(default_factory=dict)
    layers: dict[int, float] = field(default_factory=dict)


@torch.no_grad()
def probe(
    student: Student,
    teacher: Student,
    places: Sequence[Place],
    calibration: Calibration,
    step: Callable[[], None] = lambda: None,
) -> Sensitivity:
    """Measure every cut of a student alone.

    Args:
        student: cut out of the teacher, or the teacher itself.
        places: of its layers in the teacher.
        step: called after each measurement, of which there are `measurements(student)`.
    """
    found = Sensitivity()
    base, fresh = calibration.of_student(student), student is teacher
    ours, theirs = student.anatomy(), teacher.anatomy()
    _probe_front(student, teacher, calibration, base, found, step)
    own = [entering(student, x) for x in calibration.fit]
    wide = [entering(teacher, x) for x in calibration.fit]
    heard = [entering(student, x) for x in calibration.check]
    before: tuple[list[Stream], list[Stream]] = ([], [])
    done = 0
    for index, (layer, place) in enumerate(zip(ours.layers, places, strict=True)):
        wanted, wide = targets_of(theirs.layers, layer, wide, done, place)
        done = place.end

        def diverged(streams: list[Stream], first: int) -> float:
            return calibration.divergence(_finish(ours, streams, first))

        for part, targets in zip(layer.parts, wanted, strict=True):

            def moments(
                now: Part, module: nn.Module, targets: list[Tensor] = targets, own: list[Stream] = own
            ) -> Moments:
                return layer_moments(module, now, own, targets)

            def after(module: nn.Module, index: int = index, heard: list[Stream] = heard) -> float:
                return diverged([stream.through(module) for stream in heard], index + 1)

            found.parts[part.name] = _curve(layer.module, part, moments, after, fresh)
            step()
        passed = [stream.through(layer.module) for stream in heard]
        if len(ours.layers) > 1:
            if index:
                above = ours.layers[index - 1]
                trial = _stand_in(above, theirs.layers[place.end - 1], before, wanted[-1])
            else:  # what the first layer makes for all is handed on
                trial = [replace(new, x=old.x) for new, old in zip(passed, heard, strict=True)]
            found.layers[index] = max(0.0, diverged(trial, index + 1) - base)
            step()
        before = own, heard
        own, heard = [stream.through(layer.module) for stream in own], passed
    return found


def measurements(student: Student) -> int:
    """Return how many cuts `probe` measures."""
    return sum(1 for _ in student.anatomy()) + len(student.anatomy().layers)


def sizes_of(part: Part) -> list[int]:
    """Return the sizes that a part may be cut to, falling."""
    if part.fixed:
        return []
    step = max(1, -(-part.units // _STEPS))
    if part.columns == 1 and step >= _ALIGNED:
        step = -(-step // _ALIGNED) * _ALIGNED
    return [size for size in range(0, part.units, step) if size][::-1]


def _finish(anatomy: Anatomy, streams: list[Stream], first: int) -> list[Tensor]:
    for layer in anatomy.layers[first:]:
        streams = [stream.through(layer.module) for stream in streams]
    return [anatomy.tail(stream.x) for stream in streams]


def _stand_in(
    above: Layer, dropped: Layer, before: tuple[list[Stream], list[Stream]], wanted: list[Tensor]
) -> list[Stream]:
    """Return the streams behind a layer that stands for the dropped one behind it as well."""
    own, heard = before
    module, part = copy.deepcopy(above.module), above.parts[-1]
    if above.norm is not None:
        replace_norm(module, above.norm, dropped)
    moments = layer_moments(module, part, own, wanted)
    moments.solve(part.last_of(module), LIGHT_PULL)
    return [stream.through(module) for stream in heard]


def _curve(
    owner: nn.Module,
    part: Part,
    moments: Callable[[Part, nn.Module], Moments],
    after: Callable[[nn.Module], float],
    fresh: bool,
) -> dict[int, float]:
    """Return what each size of a part costs; `fresh` where there is nothing yet that refitting would mend.

    What is left after a cut is refitted, which alone may mend more than the cut costs. So it is compared with
    the whole part refitted, or the search would take what refitting mends for what can be spared.
    """
    sizes = sizes_of(part)
    if not sizes:
        return {}
    found = moments(part, owner)
    chosen, errors = rank_units(found, part.columns, part.units, batch=_batch(part))
    tried = sizes[len(sizes) // 2]
    trial = copy.deepcopy(owner)
    kept = torch.tensor(sorted(chosen[:tried]))
    cut = part.cut(trial, kept)
    less = moments(cut, trial) if cut.normed else found.of_units(kept, part.columns)
    less.solve(cut.last_of(trial), LIGHT_PULL)
    lost = errors[tried - 1] - errors[-1]
    whole = copy.deepcopy(owner)
    if not fresh:
        found.solve(part.last_of(whole), LIGHT_PULL)
    slope = max(0.0, after(trial) - after(whole)) / lost if lost > 0 else 0.0
    return {size: slope * max(0.0, errors[size - 1] - errors[-1]) for size in sizes if size >= tried}


def _probe_front(
    student: Student,
    teacher: Student,
    calibration: Calibration,
    base: float,
    found: Sensitivity,
    step: Callable[[], None],
) -> None:
    now = {part.name: part.units for part in student.anatomy().front}
    if now and student is not teacher:
        whole = copy.deepcopy(student)
        prune_front(whole, teacher, now, calibration.fit)
        base = calibration.of_student(whole)
    for part, moments in front_moments(teacher, calibration.fit):
        sizes = [size for size in sizes_of(part) if size < now[part.name]]
        if sizes:
            _, errors = rank_units(moments, part.columns, part.units, batch=_batch(part))
            made, tried = copy.deepcopy(student), sizes[len(sizes) // 2]
            prune_front(made, teacher, now | {part.name: tried}, calibration.fit)
            before = errors[now[part.name] - 1]
            lost = errors[tried - 1] - before
            slope = max(0.0, calibration.of_student(made) - base) / lost if lost > 0 else 0.0
            curve = {size: slope * max(0.0, errors[size - 1] - before) for size in sizes if size >= tried}
            found.parts[part.name] = curve
        step()


def _batch(part: Part) -> int:
    return max(1, part.units // (2 * _STEPS))

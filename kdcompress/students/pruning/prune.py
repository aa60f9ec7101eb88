"""Cut units and layers out of a student and refit what remains in closed form; or widen it.

From the front to the back: the units of a part are chosen one at a time, each the one that explains most of
what the part should add to the stream (orthogonal least squares, Chen, Billings & Luo 1989), and the linear
map behind them is then solved for. What a part should add is what brings the student's stream back to where
the teacher's is at this place, so that a part also mends what those before it have lost (reconstruction as by
He et al. 2017, arXiv 1707.06168); maps of parts that stay whole are solved for likewise. Where layers go, the
last map in front of them is fitted to the stream behind them. Nothing is trained, no transcript is read.

House letters: T frames, N frames of all utterances, U units, I inputs of a linear map, D width.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from kdcompress.aliases import Progress
from kdcompress.audio.utterance import SAMPLE_RATE
from kdcompress.errors import AudioError
from kdcompress.students.pruning.anatomy import Anatomy, Layer, Part
from kdcompress.students.pruning.moments import Moments, rank_units
from kdcompress.students.pruning.streams import Stream, between, entering, watch, watch_one
from kdcompress.students.student import Student

_PULL = 0.1  # of a refitted map to its old weights, as a share of each input's power
LIGHT_PULL = 1e-5  # where units went: inputs behind a norm are not independent of each other
_FEW = 4  # frames per input of a map, below which its old weights are held on to
_FRONT_SECONDS = 60  # of audio for the front, whose frames are many
_FRONT_ROWS = 40_000


@dataclass(frozen=True)
class Cut:
    """What is to be left of a student.

    Attributes:
        sizes: units of parts by name; parts that are not named keep theirs.
        dropped: layers that go.
    """

    sizes: dict[str, int] = field(default_factory=dict)
    dropped: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Place:
    """Which of the teacher's layers one of a student's stands for.

    Attributes:
        origin: the layer that it was made of.
        end: the first layer behind those that it stands for.
    """

    origin: int
    end: int


@dataclass(frozen=True)
class Pruned:
    """A pruned student.

    Attributes:
        places: of its layers.
    """

    student: Student
    places: tuple[Place, ...]


@torch.no_grad()
def prune(
    student: Student,
    cut: Cut,
    waveforms: Iterable[Tensor],
    *,
    teacher: Student | None = None,
    places: Sequence[Place] | None = None,
    refit: bool = True,
    coarse: bool = False,
    on_progress: Progress | None = None,
) -> Pruned:
    """Return a copy of a student with units and layers cut out, refitted.

    Args:
        student: in eval mode.
        waveforms: float32 [S] each, to measure by; eight minutes of audio are enough.
        teacher: whose stream is aimed at, of which the student was cut; None takes the student itself.
        places: of the student's layers in the teacher.
        refit: whether maps are solved for; else they only lose the units that were cut.
        coarse: whether to choose units several at a time, which is faster.
        on_progress: called with layers done, of all.

    Raises:
        AudioError: there are no waveforms.
        ConfigError: students of this kind cannot be cut.
    """
    sounds = list(waveforms)
    if not sounds:
        raise AudioError("no audio could be read to choose units by; see data.audio")
    teacher = student if teacher is None else teacher
    made = copy.deepcopy(student).eval()
    fitter = Fitter(refit, coarse)
    front = {part.name: part.units for part in made.anatomy().front}
    if (smaller := {name: cut.sizes.get(name, units) for name, units in front.items()}) != front:
        prune_front(made, teacher, smaller, sounds, fitter)
    whole, theirs = made.anatomy().layers, teacher.anatomy().layers
    before = places or [Place(index, index + 1) for index in range(len(whole))]
    kept = [index for index in range(len(whole)) if index not in cut.dropped]
    made.keep_layers(kept)
    now = []
    own = [entering(made, sound) for sound in sounds]
    wide = [entering(teacher, sound) for sound in sounds]
    done = 0
    for number, index in enumerate(kept):
        behind = kept[number + 1] if number + 1 < len(kept) else len(whole)
        place = Place(before[index].origin, before[behind - 1].end)
        layer = whole[index]
        wanted, wide = targets_of(theirs, layer, wide, done, place)
        if layer.norm is not None and place.end - 1 != place.origin:
            replace_norm(layer.module, layer.norm, theirs[place.end - 1])
        for part, targets in zip(layer.parts, wanted, strict=True):
            bridging = part is layer.parts[-1] and place.end - 1 != place.origin
            fitter.fit(layer, part, cut.sizes.get(part.name, part.units), own, targets, free=bridging)
            for stream in own:  # what the parts behind it are fitted for is now the same every time
                stream.known[part.module_of(layer.module)] = None
        own = [stream.through(layer.module) for stream in own]
        done = place.end
        now.append(place)
        if on_progress is not None:
            on_progress(number + 1, len(kept))
    made.keep_layers(range(len(kept)))  # notes the sizes
    return Pruned(made, tuple(now))


def targets_of(
    theirs: Sequence[Layer], layer: Layer, wide: list[Stream], done: int, place: Place
) -> tuple[list[list[Tensor]], list[Stream]]:
    """Return where the teacher's stream is behind each part of a layer, and its streams behind all."""
    wanted: list[list[Tensor]] = [[] for _ in layer.parts]
    leaving = []
    for stream in wide:
        for number in range(done, place.end):
            parts = theirs[number].parts
            seen, stream = watch(stream, theirs[number].module, parts)  # it flows on
            if number == place.origin:
                for targets, values in zip(wanted, seen, strict=True):
                    targets.append(values.behind)
        if place.end - 1 != place.origin:
            wanted[-1][-1] = seen[-1].behind
        leaving.append(stream)
    return wanted, leaving


@dataclass(frozen=True)
class Fitter:
    """Cuts a part and solves for its map, unless it is only to cut."""

    refit: bool = True
    coarse: bool = False

    def fit(
        self, layer: Layer, part: Part, size: int, own: list[Stream], wanted: list[Tensor], free: bool
    ) -> None:
        """Leave a part of a layer so many units.

        Args:
            free: whether the map's old weights mean nothing any more.
        """
        moments = partial(layer_moments, layer.module, own=own, wanted=wanted)
        self.solve(layer.module, part, size, moments, free)

    def solve(
        self, owner: nn.Module, part: Part, size: int, moments: Callable[[Part], Moments], free: bool
    ) -> None:
        """Choose units by the moments of what is there, cut, and solve for the map."""
        if size == part.units and not self.refit:
            return
        found = moments(part)
        cutting = size < part.units
        batch = max(1, part.units // 64) if self.coarse else 1
        if cutting:
            kept = torch.tensor(sorted(rank_units(found, part.columns, size, batch)[0]))
            part = part.cut(owner, kept)
            if not self.refit:
                return
            # Where units share a norm, what is left of them is other than it was.
            found = moments(part) if part.normed else found.of_units(kept, part.columns)
        few = found.rows < _FEW * len(found.gram)
        found.solve(part.last_of(owner), LIGHT_PULL if (cutting or free) and not few else _PULL)


def prune_front(
    made: Student,
    teacher: Student,
    sizes: dict[str, int],
    sounds: Sequence[Tensor],
    fitter: "Fitter | None" = None,
) -> None:
    """Cut the parts in front of the encoder anew out of the teacher's, in place.

    Each map behind a cut is fitted towards the teacher's next stage.
    """
    theirs = teacher.anatomy()
    root = made.anatomy().root
    for name in theirs.owners:
        setattr(root, name, copy.deepcopy(getattr(theirs.root, name)))
    ours = made.anatomy()
    sounds = _some(sounds)
    own = wide = [entering(teacher, sound, theirs.stages[0]).x for sound in sounds]
    touched = False
    for index, part in enumerate(ours.front):
        touched |= sizes[part.name] < part.units
        if touched:
            targets = [between(theirs, index, x)[1] for x in wide]
            moments = partial(_front_moments, ours, index, own, targets)
            (fitter or Fitter()).solve(ours.root, part, sizes[part.name], moments, free=False)
        own, wide = [ours.stages[index](x) for x in own], [theirs.stages[index](x) for x in wide]


def front_moments(teacher: Student, sounds: Sequence[Tensor]) -> Iterator[tuple[Part, Moments]]:
    """Yield the parts of the front with their moments while nothing is cut."""
    anatomy = teacher.anatomy()
    if anatomy.front:
        xs = [entering(teacher, sound, anatomy.stages[0]).x for sound in _some(sounds)]
        for index, part in enumerate(anatomy.front):
            targets = [between(anatomy, index, x)[1] for x in xs]
            yield part, _front_moments(anatomy, index, xs, targets, part)
            xs = [anatomy.stages[index](x) for x in xs]


def layer_moments(layer: nn.Module, part: Part, own: list[Stream], wanted: list[Tensor]) -> Moments:
    """Return the moments of a part of a layer, towards the stream that is wanted behind it."""
    seen = (watch_one(stream, layer, part) for stream in own)
    pairs = (
        (one.inputs, one.output[0] + (target - one.behind)[0] / part.scale)
        for one, target in zip(seen, wanted, strict=True)
    )
    return Moments.of(part.last_of(layer), pairs)


def replace_norm(module: nn.Module, path: str, other: Layer) -> None:
    """Let the stream leave a layer by the norm of another."""
    above, _, name = path.rpartition(".")
    norm = other.module.get_submodule(str(other.norm))
    setattr(module.get_submodule(above), name, copy.deepcopy(norm))


def _front_moments(ours: Anatomy, index: int, own: list[Tensor], wanted: list[Tensor], part: Part) -> Moments:
    step = max(1, sum(map(len, wanted)) // _FRONT_ROWS)
    pairs = ((between(ours, index, x)[0], target) for x, target in zip(own, wanted, strict=True))
    return Moments.of(part.last_of(ours.root), pairs, step)


def _some(sounds: Sequence[Tensor]) -> Sequence[Tensor]:
    return sounds[:: max(1, round(sum(map(len, sounds)) / SAMPLE_RATE / _FRONT_SECONDS))]

"""What one graph's weights cost when they are rounded: measured on audio, without a transcript."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import onnx

from kdcompress.aliases import FloatArray
from kdcompress.quantize.apply import put_integers
from kdcompress.quantize.calibration import opened
from kdcompress.quantize.layers import weight_matrices, weighted
from kdcompress.quantize.rewrite import drop_unread
from kdcompress.quantize.rounding import EIGHT, IntegerWeights, Width, round_int8
from kdcompress.quantize.smoothing import smooth
from kdcompress.runtime.compare import (
    Difference,
    Feed,
    TextDifference,
    difference,
    posteriors,
    text_difference,
)
from kdcompress.text.vocabulary import Vocabulary


@dataclass(frozen=True)
class Assignment:
    """A precision for every linear layer of a graph.

    Attributes:
        widths: of the weights of the nodes with integer products; all others stay in float.
        smoothed: activations whose outlier channels the weights after them take over.
        per_channel: of the 8-bit weights: one scale per output.
        reduce_range: of the 8-bit weights: 7 bits.
    """

    widths: Mapping[str, Width] = field(default_factory=dict)
    smoothed: tuple[str, ...] = ()
    per_channel: bool = True
    reduce_range: bool = False


@dataclass(frozen=True)
class Trial:
    """What an assignment gives.

    Attributes:
        name: in words.
        bytes: of the file.
        slow_weights: weights that are not multiplied as integers: what the time mostly hangs on.
    """

    name: str
    assignment: Assignment
    bytes: int
    slow_weights: int
    frames: Difference
    text: TextDifference

    @property
    def kl(self) -> float:
        """Mean over frames of KL(fp32 ‖ this) [nats]."""
        return self.frames.kl


@dataclass
class QuantizationEvaluator:
    """A graph, the audio that it is measured on, and what it answers in full precision.

    Attributes:
        model: the float graph.
        feeds: audio.
        channels: largest magnitude per channel of activations; filled by who wants to smooth.
        fitted: weights of less than 8 bits, by node and width; filled by who wants them.
        sizes: linear layers and how many weights they have.
        reference: log-probabilities [T', V] of the float graph.
    """

    model: onnx.ModelProto
    feeds: Sequence[Feed]
    vocabulary: Vocabulary
    threads: int | None = None
    channels: dict[str, npt.NDArray[np.float64]] = field(default_factory=dict)
    fitted: dict[tuple[str, Width], IntegerWeights] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(init=False)
    reference: list[FloatArray] = field(init=False)

    def __post_init__(self) -> None:
        self.sizes = weighted(self.model.graph)
        self.reference = self._answers(self.model)

    def smoothed(self, sources: Sequence[str]) -> onnx.ModelProto:
        """Return the float graph with these activations smoothed."""
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        smooth(model.graph, {name: self.channels[name] for name in sources})
        drop_unread(model.graph)
        return model

    def build(self, assignment: Assignment, *, compact: bool = True) -> onnx.ModelProto:
        """Return a graph of the assigned precisions; see `put_integers` for `compact`."""
        model = self.smoothed(assignment.smoothed)
        eight = [node for node, width in assignment.widths.items() if width == EIGHT]
        weights = {
            node: round_int8(matrix, per_channel=assignment.per_channel, reduce_range=assignment.reduce_range)
            for node, matrix in weight_matrices(model.graph, eight).items()
        }
        for node, width in assignment.widths.items():
            if width != EIGHT:
                weights[node] = self.fitted[node, width]
        put_integers(model, weights, compact=compact)
        del model.graph.value_info[:]
        return model

    def evaluate(self, name: str, assignment: Assignment) -> Trial:
        """Build a graph, run it on the audio, and compare."""
        model = self.build(assignment)
        answers = self._answers(model)
        return Trial(
            name,
            assignment,
            model.ByteSize(),
            sum(size for node, size in self.sizes.items() if node not in assignment.widths),
            difference(self.reference, answers, self.vocabulary.blank),
            text_difference(self.reference, answers, self.vocabulary),
        )

    def alone(
        self, nodes: Sequence[str], how: Assignment, on_node: Callable[[str], None], width: Width = EIGHT
    ) -> dict[str, float]:
        """Return the KL that each node costs when it alone is rounded, the others untouched.

        Args:
            nodes: names.
            how: which smoothing, and for 8 bits which scales.
            on_node: called before each.
            width: of the weights.
        """
        costs: dict[str, float] = {}
        for node in nodes:
            on_node(node)
            answers = self._answers(self.build(replace(how, widths={node: width}), compact=False))
            costs[node] = difference(self.reference, answers, self.vocabulary.blank).kl
        return costs

    def _answers(self, model: onnx.ModelProto) -> list[FloatArray]:
        with opened(model, self.threads) as session:
            return posteriors(session, self.feeds)

"""What one graph's weights cost when they are rounded: measured on audio, without a transcript."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import onnx

from kdcompress.aliases import FloatArray
from kdcompress.quantize.blocks import make_blocks
from kdcompress.quantize.calibration import opened
from kdcompress.quantize.plan import PRESETS, block_size, weighted
from kdcompress.quantize.rewrite import drop_unread, make_dynamic
from kdcompress.quantize.smoothing import smooth
from kdcompress.quantize.store import store_halves
from kdcompress.runtime.compare import (
    Difference,
    Feed,
    TextDifference,
    difference,
    posteriors,
    text_difference,
)
from kdcompress.text.vocabulary import Vocabulary

_FOUR_BITS = PRESETS["int4-weights"]


@dataclass(frozen=True)
class Assignment:
    """A precision for every linear layer of a graph.

    Attributes:
        int8: names of the nodes with integer products.
        int4: of those with 4-bit weights that a float product unpacks.
        smoothed: activations whose outlier channels the weights after them take over.
        per_channel: of the int8 weights: one scale per output.
        reduce_range: of the int8 weights: 7 bits.
        half: store what stays float in half precision; it is computed with in float all the same.
    """

    int8: tuple[str, ...] = ()
    int4: tuple[str, ...] = ()
    smoothed: tuple[str, ...] = ()
    per_channel: bool = True
    reduce_range: bool = False
    half: bool = True


@dataclass(frozen=True)
class Outcome:
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
    """A graph, the audio that it is judged on, and what it answers in full precision.

    Attributes:
        model: the float graph.
        feeds: audio.
        channels: largest magnitude per channel of activations; filled by who wants to smooth.
        sizes: linear layers and how many weights they have.
        reference: log-probabilities [T', V] of the float graph.
    """

    model: onnx.ModelProto
    feeds: Sequence[Feed]
    vocabulary: Vocabulary
    threads: int | None = None
    channels: dict[str, npt.NDArray[np.float64]] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(init=False)
    reference: list[FloatArray] = field(init=False)

    def __post_init__(self) -> None:
        self.sizes = weighted(self.model.graph)
        self.reference = self._answers(self.model)

    def build(self, wish: Assignment) -> onnx.ModelProto:
        """Return a graph of the wished precisions."""
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        smooth(model.graph, {name: self.channels[name] for name in wish.smoothed})
        make_dynamic(model.graph, wish.int8, per_channel=wish.per_channel, reduce_range=wish.reduce_range)
        if wish.int4:
            make_blocks(model, wish.int4, _FOUR_BITS.bits, lambda rows: block_size(rows, _FOUR_BITS))
        drop_unread(model.graph)
        if wish.half:
            store_halves(model.graph)
        del model.graph.value_info[:]
        return model

    def judge(self, name: str, wish: Assignment) -> Outcome:
        """Build a graph, let it listen, and compare."""
        model = self.build(wish)
        answers = self._answers(model)
        return Outcome(
            name,
            wish,
            model.ByteSize(),
            sum(size for node, size in self.sizes.items() if node not in wish.int8),
            difference(self.reference, answers, self.vocabulary.blank),
            text_difference(self.reference, answers, self.vocabulary),
        )

    def alone(
        self, nodes: Sequence[str], how: Assignment, on_node: Callable[[str], None], bits: int = 8
    ) -> dict[str, float]:
        """Return the KL that each node costs when it alone is rounded, the others untouched.

        Args:
            nodes: names.
            how: which smoothing, and for 8 bits which scales.
            on_node: told before each.
            bits: 8 for integer products, 4 for weights in blocks.
        """
        costs: dict[str, float] = {}
        for node in nodes:
            on_node(node)
            int8, int4 = ((node,), ()) if bits == 8 else ((), (node,))
            answers = self._answers(self.build(replace(how, int8=int8, int4=int4, half=False)))
            costs[node] = difference(self.reference, answers, self.vocabulary.blank).kl
        return costs

    def _answers(self, model: onnx.ModelProto) -> list[FloatArray]:
        with opened(model, self.threads) as session:
            return posteriors(session, self.feeds)

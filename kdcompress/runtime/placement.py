"""Where the nodes of a graph really ran, and which of those that fell back matter."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

# Kinds of operators that are the model, whatever they are fused with: FusedMatMul, DynamicQuantizeMatMul, …
_WORK = (
    "MatMul",
    "Gemm",
    "Conv",
    "Attention",
    "Normalization",
    "Softmax",
    "Einsum",
    "LSTM",
    "GRU",
    "RNN",
    "DFT",
    "STFT",
)
# What counts and masks: lengths, shapes, positions.
_INDICES = {"int64", "int32", "bool"}
# [elements] for one second of audio. The tables of a rotary embedding have a few hundred; activations, which
# are frames × width, have thousands.
_SMALL = 1_000


@dataclass(frozen=True)
class NodeRun:
    """One node of an optimised graph, as it ran.

    Attributes:
        op: its kind, after fusion.
        provider: onnxruntime's name of what ran it.
        works: whether it is part of the model's computation rather than of its bookkeeping.
    """

    name: str
    op: str
    provider: str
    works: bool


def node_runs(events: Iterable[Mapping[str, Any]]) -> list[NodeRun]:
    """Read the nodes out of onnxruntime's profile of one run over about a second of audio.

    onnxruntime puts what computes shapes and lengths on the CPU on purpose, since only the host reads it; to
    count such nodes as a fallback would refuse every graph. A node works where its kind is one that
    a model is made of, or where it gives a tensor of numbers, not of indices, as large as an activation.
    """
    found = {}
    for event in events:
        arguments = event.get("args", {})
        if event.get("cat") == "Node" and arguments.get("provider"):
            name, op, provider = (
                str(event["name"]),
                str(arguments.get("op_name", "")),
                str(arguments["provider"]),
            )
            works = any(kind in op for kind in _WORK) or _gives_activations(
                arguments.get("output_type_shape") or ()
            )
            found[name, provider] = NodeRun(name, op, provider, works)
    return [found[key] for key in sorted(found)]


def fallen_back(nodes: Iterable[NodeRun], provider: str) -> dict[str, int]:
    """Count, by kind, the nodes that work and ran on another provider than the one asked for."""
    return dict(Counter(node.op for node in nodes if node.works and node.provider != provider).most_common())


def _gives_activations(outputs: Iterable[Mapping[str, Any]]) -> bool:
    for output in outputs:
        for kind, shape in output.items():
            size = 1
            for axis in shape:
                size *= int(axis)
            if kind not in _INDICES and size >= _SMALL:
                return True
    return False

"""How a candidate really runs: asked of the runtime, not of whoever configured it."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import onnxruntime

from kdcompress.report.measured import Facts
from kdcompress.runtime.placement import fallen_back
from kdcompress.runtime.session import GraphSession

INT8_ON_CUDA = "dynamic int8 has no CUDA kernels: use fp32 on the GPU, int8 on the CPU"


def graph_facts(
    session: GraphSession,
    feeds: Mapping[str, Any],
    *,
    precision: str,
    features_in_model: bool = False,
    int8: bool = False,
) -> Facts:
    """Say how a graph of ours runs, from a profile of one run over about a second of audio.

    Args:
        session: loaded.
        feeds: of that run.
        precision: of the graph.
        features_in_model: it takes waveforms.
        int8: it multiplies bytes.
    """
    nodes = session.place(feeds)
    counted = Counter(node.provider for node in nodes)
    notes = []
    if session.device == "cuda":
        if elsewhere := len(nodes) - counted[session.provider]:
            notes.append(f"{elsewhere} of {len(nodes)} nodes ran on the CPU, not on CUDA")
        if int8:
            notes.append(INT8_ON_CUDA)
    return Facts(
        runtime=f"onnxruntime {onnxruntime.__version__}",
        provider=session.device,
        threads=session.threads,
        nodes=dict(counted),
        features_in_model=features_in_model,
        notes=tuple(notes),
        runtime_name="kdcompress",
        options=session_options(session),
        precision=precision,
        fallback=fallen_back(nodes, session.provider),
    )


# Settings that change speed and have no attribute of their own; those that are set are named.
_ENTRIES = (
    "session.intra_op.allow_spinning",
    "session.inter_op.allow_spinning",
    "session.set_denormal_as_zero",
    "session.disable_prepacking",
    "session.force_spinning_stop",
    "session.dynamic_block_base",
    "mlas.enable_gemm_fastmath_arm64_bfloat16",
)


def session_options(session: GraphSession) -> dict[str, str]:
    """Return the options that a session was opened with."""
    options = session.session.get_session_options()
    found = {**session.options, "io_binding": str(session.bound).lower()}
    for name in _ENTRIES:
        try:
            found[name] = str(options.get_session_config_entry(name))
        except RuntimeError:  # not set: onnxruntime's default
            continue
    return found

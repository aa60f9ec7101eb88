"""Run a graph with its inputs and outputs bound to the device that it runs on."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime


def run_bound(
    session: onnxruntime.InferenceSession, device: str, feeds: Mapping[str, Any], outputs: Sequence[str]
) -> list[Any]:
    """Run a graph once and return the named outputs, copied to the host.

    Numbers are copied to the device before the run and results after it, once each, and it is over when this
    returns: a clock around it measures the device's work, not how fast it was asked. Indices, such as
    lengths, stay on the host, which is where onnxruntime computes with them.

    Args:
        session: on whose provider's device the numbers are put.
        device: `cpu` or `cuda`, the first of its kind.
        feeds: arrays by the names of the inputs.
        outputs: their names.
    """
    binding = session.io_binding()
    for name, value in feeds.items():
        array = np.ascontiguousarray(value)
        if array.dtype.kind == "f":
            binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array, device, 0))
        else:
            binding.bind_cpu_input(name, array)
    for name in outputs:
        binding.bind_output(name, device, 0)
    binding.synchronize_inputs()
    session.run_with_iobinding(binding)
    binding.synchronize_outputs()
    answers: list[Any] = binding.copy_outputs_to_cpu()
    return answers

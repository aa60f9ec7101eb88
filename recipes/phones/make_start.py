"""Write the phone teacher as a student of kind `separable`, for smaller ones to begin with.

    python recipes/phones/make_start.py runs/phone-teacher real-en/audio/train runs/phone-start

Its graph is read weight by weight. Only the first layer changes: students take NeMo's log-mel features, which
runtimes compute, the teacher others, so that it is solved for anew on some of the audio, by least squares.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor
from torch.nn import functional

from kdcompress.audio.manifest import read_utterances
from kdcompress.config.student import SeparableConfig
from kdcompress.students.initialize import sample_waveforms
from kdcompress.students.low_rank import fit_stem
from kdcompress.students.separable import SeparableStudent
from kdcompress.students.weights import save_student
from kdcompress.teachers.open import open_teacher, resolve_teacher

SHAPE = SeparableConfig(dilations=(1, 1, 2, 2, 4, 1, 1, 2, 2, 4, 1), frame_shift_ms=20)
HOP = 160  # of the teacher's features [samples]


def layers(graph: dict[str, Tensor]) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield a student's layers by name with weight and bias, the stem's left out."""
    prefix = "acoustic_model.model."
    for index in range(len(SHAPE.dilations)):
        theirs, ours = f"{prefix}backbone.{index}.", f"blocks.{index}."
        yield ours + "depthwise", graph[theirs + "depthwise.weight"], graph[theirs + "depthwise.bias"]
        number = 666 + 3 * index  # exporters number what they have fused
        yield ours + "pointwise", graph[f"onnx::Conv_{number}"][..., 0], graph[f"onnx::Conv_{number + 1}"]
        for name, part in (("squeeze", "se.fc1"), ("excite", "se.fc2")):
            yield ours + name, graph[f"{theirs}{part}.weight"][..., 0], graph[f"{theirs}{part}.bias"]
    for index, number in enumerate((712, 719)):
        theirs, ours = f"{prefix}attn_layers.{index}.", f"attention.{index}."
        for name, part in (("norm", "norm1"), ("inner_norm", "norm2")):
            yield ours + name, graph[f"{theirs}{part}.weight"], graph[f"{theirs}{part}.bias"]
        for name, offset, bias in (
            ("query_key_value", 0, "attn.in_proj_bias"),
            ("out", 4, "attn.out_proj.bias"),
            ("widen", 5, "ff.0.bias"),
            ("shrink", 6, "ff.3.bias"),
        ):
            yield ours + name, graph[f"onnx::MatMul_{number + offset}"].T, graph[theirs + bias]
    yield "head", graph[prefix + "proj.weight"][..., 0], graph[prefix + "proj.bias"]


def stem(graph: dict[str, Tensor], waveform: Tensor) -> Tensor:
    """Return the output of the teacher's first convolution [1, T, D]."""
    padded = functional.pad(waveform[None, None], (200, 200), mode="reflect")
    parts = [functional.conv1d(padded, graph[f"stft_{part}_kernel"], stride=HOP) for part in ("real", "imag")]
    power = parts[0].square() + parts[1].square()
    features = (power.transpose(1, 2) @ graph["mel_fb"]).clamp(min=1e-10).log().transpose(1, 2)
    out = functional.conv1d(features, graph["onnx::Conv_663"], graph["onnx::Conv_664"], stride=2, padding=1)
    return out.transpose(1, 2)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("teacher", type=Path, help="directory of make_teacher.py")
    parser.add_argument("audio", type=Path, help="folder or manifest, of which eight minutes are read")
    parser.add_argument("out", type=Path, help="the directory to write")
    arguments = parser.parse_args()
    initializers = onnx.load(arguments.teacher / "model.onnx").graph.initializer
    graph = {
        value.name: torch.from_numpy(onnx.numpy_helper.to_array(value).astype(np.float32))
        for value in initializers
    }
    vocabulary = open_teacher(resolve_teacher(str(arguments.teacher))).vocabulary
    student = SeparableStudent(SHAPE, len(vocabulary)).eval()
    weights = {}
    for name, weight, bias in layers(graph):
        weights |= {f"{name}.weight": weight, f"{name}.bias": bias}
    waveforms = list(sample_waveforms(read_utterances(arguments.audio)[0]))
    student.measure(waveforms)
    student.load_state_dict(student.state_dict() | weights)
    features = [student.features(x[None], torch.tensor([len(x)])) for x in waveforms]
    wanted = [stem(graph, x) for x in waveforms]
    fit_stem(
        student, features, [y[:, : -(-x.shape[1] // 2)] for (x, _), y in zip(features, wanted, strict=True)]
    )
    save_student(arguments.out, student, vocabulary, {})


if __name__ == "__main__":
    main()

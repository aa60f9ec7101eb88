"""What a student learns with is what the exporter writes: the same integers, the same answers."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from kdcompress.config.deploy import PRESETS
from kdcompress.config.student import SeparableConfig
from kdcompress.distill.fake_quantization import (
    RoundedLinear,
    RoundedStudent,
    round_linear_layers,
    rounded_activations,
    straight_through,
)
from kdcompress.errors import ConfigError
from kdcompress.frontend.logmel_numpy import log_mel
from kdcompress.graph.write import export_run
from kdcompress.quantize.calibration import opened
from kdcompress.quantize.fitting import fit
from kdcompress.quantize.layers import choose_layers, weight_matrices
from kdcompress.quantize.rounding import WIDTHS, nearest, on_grid
from kdcompress.runtime.session import Session
from kdcompress.students.separable import SeparableStudent
from kdcompress.students.weights import load_student, save_student

NARROW = ("6", "4", "3", "2", "ternary")


def layer(width: str, inputs: int = 24, outputs: int = 7, seed: int = 0) -> RoundedLinear:
    torch.manual_seed(seed)
    found = round_linear_layers(torch.nn.Sequential(torch.nn.Linear(inputs, outputs)), width)[0]
    assert isinstance(found, RoundedLinear)
    return found


@given(st.sampled_from(NARROW), st.integers(0, 50))
def test_the_exporter_finds_the_integers_that_were_trained(width: str, seed: int) -> None:
    trained = layer(width, seed=seed)
    rounded = trained.rounded()
    found = on_grid(rounded.T.numpy().copy(), WIDTHS[width])
    assert found is not None
    np.testing.assert_array_equal(found.values * found.scale, rounded.T.numpy())
    # Scales are halves already: storing them as such changes nothing.
    scale = rounded.abs().T.numpy()[found.values != 0] / np.abs(found.values[found.values != 0])
    np.testing.assert_allclose(scale, scale.astype(np.float16).astype(np.float32), rtol=1e-6)


@given(st.sampled_from(NARROW), st.integers(0, 50))
def test_numpy_and_torch_round_alike(width: str, seed: int) -> None:
    generator = np.random.default_rng(seed)
    weights = generator.normal(0, 1, (13, 4)).astype(np.float32)
    scale = np.abs(generator.normal(0.3, 0.1, 4)).astype(np.float32) + 0.01
    ours = nearest(weights, scale, WIDTHS[width])
    theirs = nearest(torch.from_numpy(weights), torch.from_numpy(scale), WIDTHS[width])
    np.testing.assert_array_equal(ours, theirs.numpy())


@pytest.mark.parametrize("shift", [-3.0, 0.0, 3.0])
def test_activations_are_rounded_as_onnxruntime_rounds_them(shift: float) -> None:
    values = np.random.default_rng(0).normal(shift, 1, (2, 31, 24)).astype(np.float32)
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 31, 24]) for name in "xy"]
    model = helper.make_model(
        helper.make_graph(nodes, "test", ends[:1], ends[1:]),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )
    with opened(model, threads=1) as session:
        theirs = session.session.run(None, {"x": values})[0]
    np.testing.assert_allclose(rounded_activations(torch.from_numpy(values)), theirs, atol=1e-6)


def test_gradients_pass_as_if_nothing_were_rounded() -> None:
    trained = layer("2")
    x = torch.randn(5, 24, requires_grad=True)
    trained(x).sum().backward()
    assert trained.weight.grad is not None
    torch.testing.assert_close(trained.weight.grad, rounded_activations(x.detach()).sum(dim=0).expand(7, 24))
    value = torch.ones(3, requires_grad=True)
    straight_through(value, torch.full((3,), 9.0)).sum().backward()
    assert value.grad is not None
    assert value.grad.tolist() == [1, 1, 1]


def test_silence_is_rounded_to_silence() -> None:
    assert not rounded_activations(torch.zeros(2, 3)).any()


def test_a_small_output_layer_stays_in_float_and_names_stay() -> None:
    student = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.Linear(64, 64), torch.nn.Linear(64, 2))
    names = list(student.state_dict())
    round_linear_layers(student, "2")
    assert [type(module) is RoundedLinear for module in student] == [True, True, False]
    assert list(student.state_dict()) == names
    with pytest.raises(ConfigError, match="this student has none"):
        round_linear_layers(torch.nn.Sequential(torch.nn.ReLU()), "2")


def test_thin_matrices_share_their_scales_before_they_are_rounded() -> None:
    """A student is the same at 6 bits whatever the scales between its halves were."""
    torch.manual_seed(0)
    thin = {"rank": 4, "attention_rank": 4, "edge_rank": 4, "gate": 3, "feed_forward": 5, "dilations": (1,)}
    config = SeparableConfig(width=12, kernel=3, heads=2, attention_layers=1, frame_shift_ms=20, **thin)
    student, sound = SeparableStudent(config, 5).eval(), torch.randn(1, 9_000)
    chains = [(first, second) for first, second in student.linear_chains()]
    assert len(chains) == 5
    off, wanted = [], student(sound, torch.tensor([9_000]))[0]
    for scaled in (False, True):
        if scaled:
            for first, second in chains:
                sizes = 2.0 ** (3 * torch.arange(4))
                with torch.no_grad():
                    first.weight.mul_(sizes.view(-1, *[1] * (first.weight.ndim - 1)))
                    second.weight.div_(sizes)
        rounded = RoundedStudent(round_linear_layers(deepcopy(student), "6"))
        rounded.update(1)
        answer = rounded.model.eval()(sound, torch.tensor([9_000]))[0]
        off.append(float((answer - wanted).abs().mean().detach()))
    assert off[1] < 1.5 * off[0]


def test_the_exported_graph_computes_what_was_trained(
    tiny_checkpoint: Path, tmp_path: Path, say: Callable[[str], npt.NDArray[np.float32]]
) -> None:
    loaded = load_student(tiny_checkpoint)
    trained = RoundedStudent(round_linear_layers(loaded.model, "2"))
    trained.update(1)
    layers = [module for module in trained.model.modules() if isinstance(module, RoundedLinear)]
    save_student(tmp_path / "run", trained.model, loaded.vocabulary, {"step": 1})
    bundle = export_run(tmp_path / "run", tmp_path / "bundle", quantize=("int2",))

    assert bundle.parity["int2"]["fitted"] == "training"

    # The weights of the fp32 graph are the trained integers times their scales, gains of norms or not.
    model = onnx.load(str(tmp_path / "bundle" / "model.onnx"))
    chosen = choose_layers(model.graph, PRESETS["int2"])
    assert len(chosen.quantized) == len(layers)
    matrices = weight_matrices(model.graph, chosen.quantized)
    kept = {np.abs(layer.weight.numpy()).sum(dtype=np.float64).round(6) for layer in layers}
    halved = {round(value / 2, 6) for value in kept}
    for name, (found,) in fit(model, dict.fromkeys(chosen.quantized, (WIDTHS["2"],)), []):
        np.testing.assert_array_equal(found.values * found.scale, matrices[name])
        total = np.abs(matrices[name]).sum(dtype=np.float64).round(6)
        assert min(abs(total - value) for value in kept | halved) < 1e-4

    samples = say("a cb b")
    with torch.no_grad():
        wanted, lengths = trained.model.eval()(torch.from_numpy(samples)[None], torch.tensor([len(samples)]))
    session = Session(bundle.path(bundle.variants["int2"]), threads=1)
    found_B, found_lengths = session.run(log_mel(samples)[None], np.array([len(samples) // 160]))
    assert found_lengths.tolist() == lengths.tolist()
    # An activation at the border of two levels may fall to either side.
    off = np.abs(np.exp(found_B[0]) - np.exp(wanted[0].numpy()))
    assert off.mean() < 0.003
    plain = load_student(tiny_checkpoint).model(torch.from_numpy(samples)[None], torch.tensor([len(samples)]))
    assert off.mean() < 0.1 * np.abs(np.exp(plain[0][0].detach().numpy()) - np.exp(wanted[0].numpy())).mean()

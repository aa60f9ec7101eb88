from collections.abc import Callable

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdcompress.aliases import FloatArray
from kdcompress.config.deploy import PRESETS
from kdcompress.quantize.blocks import make_blocks, pack
from kdcompress.quantize.layers import block_size


def unpacked(weights: FloatArray, bits: int, block: int) -> FloatArray:
    """Return what a reader of the packed weights sees, one value after the other."""
    packed, scales = pack(weights, bits, block)
    rows, columns = weights.shape
    values = np.zeros((rows, columns), np.float32)
    for row in range(rows):
        for column in range(columns):
            place, within = divmod(row, block)
            if bits == 4:
                byte = int(packed[column, place, within // 2])
                level = (byte >> 4) if within % 2 else (byte & 15)
            else:
                level = int(packed[column, place, within])
            values[row, column] = (level - (1 << (bits - 1))) * scales[column, place]
    return values


@given(st.integers(0, 50), st.sampled_from([4, 8]), st.sampled_from([16, 32]), st.integers(1, 40))
def test_values_come_back_within_their_step(seed: int, bits: int, block: int, rows: int) -> None:
    weights = np.random.default_rng(seed).normal(0, 1, (rows, 3)).astype(np.float32)
    weights[:, 1] = 0
    error = np.abs(unpacked(weights, bits, block) - weights)
    assert (error[:, 1] == 0).all()
    # A step is a 2^(bits-1)th of the largest magnitude; clipping at three quarters costs a quarter of that.
    assert error.max() <= np.abs(weights).max() * (0.25 + 0.5 / (1 << (bits - 1)))


@pytest.mark.parametrize(("bits", "block"), [(4, 16), (4, 32), (8, 32), (8, 128)])
def test_onnxruntime_unpacks_what_was_packed(
    gated: onnx.ModelProto,
    sounds: list[dict[str, FloatArray]],
    answer: Callable[[onnx.ModelProto, dict[str, FloatArray]], FloatArray],
    bits: int,
    block: int,
) -> None:
    rounded = onnx.ModelProto()
    rounded.CopyFrom(gated)
    for tensor in rounded.graph.initializer:
        if tensor.name in {"first", "last"}:
            value = unpacked(onnx.numpy_helper.to_array(tensor), bits, block)
            tensor.CopyFrom(onnx.numpy_helper.from_array(value, tensor.name))
    make_blocks(gated, ("first layer", "output layer"), bits, lambda _: block)
    assert {opset.domain for opset in gated.opset_import} == {"", "com.microsoft"}
    assert [node.op_type for node in gated.graph.node].count("MatMulNBits") == 2
    np.testing.assert_allclose(answer(gated, sounds[0]), answer(rounded, sounds[0]), atol=2e-3)


def test_a_block_is_chosen_that_wastes_little() -> None:
    eight, four = PRESETS["int8-weights"], PRESETS["int4-weights"]
    assert block_size(144, eight) == 32  # 5 blocks fill up to 160; one of 128 and a second up to 256
    assert block_size(256, eight) == 128
    assert block_size(64, eight) == 64
    assert block_size(256, four) == 32
    assert block_size(144, four) == 16  # 9 blocks are as many bytes as 5 of 32, and round better
    assert block_size(16, four) == 16


def test_graphs_of_chunks_multiply_int8_and_others_do_not(gated: onnx.ModelProto) -> None:
    streaming = onnx.ModelProto()
    streaming.CopyFrom(gated)
    for name in ("state", "length"):
        streaming.graph.input.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]))
    for model, level in ((gated, None), (streaming, 4)):
        make_blocks(model, ("first layer",), 4, lambda _: 32)
        (node,) = (node for node in model.graph.node if node.op_type == "MatMulNBits")
        levels = [a.i for a in node.attribute if a.name == "accuracy_level"]
        assert levels == ([] if level is None else [level])

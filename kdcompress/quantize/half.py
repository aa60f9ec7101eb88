"""Half precision throughout, by onnxruntime's converter, with the exceptions that a CTC encoder needs."""

import logging

import onnx
from onnx import helper

from kdcompress.quantize.layers import in_frontend
from kdcompress.quantize.rewrite import drop_unread

# Half precision ends at 65504 and has 11 bits. Log-probabilities stay float, and so do angles: there is no
# position 2049 in half precision.
_FLOAT_OPS = ("LogSoftmax", "Sin", "Cos", "Range")


def to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a graph that computes in half precision; inputs, outputs, lengths, shapes and angles stay.

    Normalisations are half-precision operators that sum in float by themselves (stash_type 1). A front end
    inside the graph stays as it is: the converter sees what is between its ends.
    """
    front = onnx.GraphProto()
    front.CopyFrom(model.graph)
    model = _without_frontend(model)
    halved = _converted(model)
    nodes = [node for node in front.node if in_frontend(node)]
    if nodes:
        read = {name for node in nodes for name in node.input}
        halved.graph.node.extend(nodes)
        halved.graph.initializer.extend(tensor for tensor in front.initializer if tensor.name in read)
        for ends, old in ((halved.graph.input, front.input), (halved.graph.output, front.output)):
            del ends[:]
            ends.extend(old)
    _sort(halved.graph)
    return halved


def _without_frontend(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph whose inputs are what the front end makes, and whose outputs are what it reads."""
    front = [node for node in model.graph.node if in_frontend(node)]
    if not front:
        return model
    types = {value.name: value for value in onnx.shape_inference.infer_shapes(model).graph.value_info}
    body = onnx.ModelProto()
    body.CopyFrom(model)
    graph = body.graph
    for node in front:
        graph.node.remove(node)
    for ends, makers, readers in ((graph.input, front, graph.node), (graph.output, graph.node, front)):
        made = {name for node in makers for name in node.output}
        crossing = dict.fromkeys(name for node in readers for name in node.input if name in made)
        del ends[:]
        ends.extend(types[name] for name in crossing)
    drop_unread(graph)
    return body


def _converted(model: onnx.ModelProto) -> onnx.ModelProto:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    properties = {entry.key: entry.value for entry in model.metadata_props}
    # It tells everybody about every constant that two nodes share.
    logger = logging.getLogger("onnxruntime.transformers.float16")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        halved: onnx.ModelProto = convert_float_to_float16(
            model,
            keep_io_types=True,
            op_block_list=list(_FLOAT_OPS),
            node_block_list=_makers_of_angles(model.graph),
        )
    finally:
        logger.setLevel(level)
    helper.set_model_props(halved, properties)
    return halved


def _makers_of_angles(graph: onnx.GraphProto) -> list[str]:
    """Return the nodes that sines and cosines come from."""
    makers = {output: node for node in graph.node for output in node.output}
    waiting = [node for node in graph.node if node.op_type in {"Sin", "Cos"}]
    found: dict[str, None] = {}
    while waiting:
        node = waiting.pop()
        if node.name not in found:
            found[node.name] = None
            waiting += [makers[name] for name in node.input if name in makers]
    return list(found)


def _sort(graph: onnx.GraphProto) -> None:
    """Put each node behind those that it reads: the converter appends its casts at the end."""
    nodes = {node.name: node for node in graph.node}
    makers = {output: node.name for node in graph.node for output in node.output}
    order: dict[str, onnx.NodeProto] = {}
    waiting = [(name, False) for name in reversed(nodes)]
    while waiting:
        name, ready = waiting.pop()
        if ready:
            order[name] = nodes[name]
        elif name not in order:
            waiting.append((name, True))
            waiting += [(makers[source], False) for source in nodes[name].input if source in makers]
    del graph.node[:]
    graph.node.extend(order.values())

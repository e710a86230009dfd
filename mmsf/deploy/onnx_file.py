"""ONNX files of detectors: written whole, with what is needed to run them."""

import json
import warnings
from dataclasses import asdict, replace
from pathlib import Path

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from mmsf.deploy.description import INPUT, KEY, Description, read_description
from mmsf.deploy.nodes import DOMAIN
from mmsf.errors import UserError
from mmsf.version import __version__

OPSET = 20  # DeformConv came with 19
OPSET_OF_4_BITS = 21


def write_graph(path: Path, network: nn.Module, example: Tensor, names: list[str], dynamic_batch: bool) -> None:
    """Trace a network and write its graph.

    Args:
        path: Where it goes.
        network: Takes images, gives a tuple.
        example: (B, 3, H, W).
        names: Of the raw outputs.
        dynamic_batch: The first axis of images and outputs may have any length.
    """
    axes = {name: {0: "batch"} for name in (INPUT, *names)} if dynamic_batch else None
    with torch.no_grad(), warnings.catch_warnings():
        # Sizes become constants while a network is traced, which is what is wanted of all but the batch; that is checked.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (example,),
            str(path),
            input_names=[INPUT],
            output_names=names,
            opset_version=OPSET,
            dynamic_axes=axes,
            dynamo=False,
            custom_opsets={DOMAIN: 1},
            # The inside of a function that has a symbol of its own is of no use, and may refer to sizes outside of it.
            autograd_inlining=False,
        )


def finish(path: Path, description: Description, four_bit_weights: bool) -> None:
    """Tidy a graph up, put the description into the file and check it, in place.

    Args:
        path: The file.
        description: What else shall stand in it.
        four_bit_weights: Store weights of 4 bits in 4 bits.
    """
    model = onnx.load(path)
    _drop_identities(model.graph)
    _constants_as_initializers(model.graph)
    names = _name_integers(model)
    renamed = _merge_equal_nodes(model.graph)
    description = replace(description, integers=tuple(renamed.get(name, name) for name in names))
    if four_bit_weights:
        _pack_four_bits(model)
    model.producer_name, model.producer_version = "mmsf", description.version
    helper.set_model_props(model, {KEY: json.dumps(asdict(description))})
    onnx.checker.check_model(model)
    onnx.save(model, path)


def with_integers(path: Path, out: Path) -> None:
    """Write a copy of a file that also gives the integers of its activation quantizers."""
    model = onnx.load(path)
    types = {i.name: i.data_type for i in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            model.graph.output.append(helper.make_tensor_value_info(node.output[0], types[node.input[2]], None))
    onnx.save(model, out)


def write_float(path: Path, model: nn.Module, image: Tensor) -> None:
    """Write the float detector of a `QuantWrapper`, to compare with.

    Args:
        path: Where it goes.
        model: The wrapper.
        image: (1, 3, H, W).
    """
    with torch.no_grad():
        names = list(model.float_raw(image))
    write_graph(path, _FloatNetwork(model.float_detector, names), image, names, dynamic_batch=False)
    finish(path, Description(__version__, "float", "float", False, False, {}, tuple(names)), four_bit_weights=False)


def write_trunk(path: Path, out: Path) -> None:
    """Write the part of a detector's file that backbone and neck are, for timing.

    Where the rest reads their tensors through quantizers, the part ends in integers, so that its last layers are computed as
    they are in the whole.

    Args:
        path: A file of `write_graph`, finished.
        out: Where the part goes.

    Raises:
        UserError: The detector has no module named ``backbone`` or ``neck``.
    """
    model = onnx.load(path)
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}

    def inside(node: onnx.NodeProto) -> bool:
        return "/backbone/" in node.name or "/neck/" in node.name

    ends = []
    for node in graph.node:
        for name in () if inside(node) else node.input:
            if name in makers and inside(makers[name]):
                if node.op_type == "QuantizeLinear":
                    ends.append(node.output[0])
                else:
                    ends.append(makers[name].input[0] if makers[name].op_type == "DequantizeLinear" else name)
    if not ends:
        raise UserError(f"{path} has no nodes of a backbone or neck")
    wanted, kept = list(ends), set()
    while wanted:
        maker = makers.get(wanted.pop())
        if maker is not None and maker.output[0] not in kept:
            kept.add(maker.output[0])
            wanted.extend(maker.input)
    nodes = [node for node in graph.node if node.output[0] in kept]
    types = {i.name: i.data_type for i in graph.initializer}
    del graph.output[:]
    for name in dict.fromkeys(ends):
        maker = makers[name]
        kind = types[maker.input[2]] if maker.op_type == "QuantizeLinear" else TensorProto.FLOAT
        graph.output.append(helper.make_tensor_value_info(name, kind, None))
    del graph.node[:]
    graph.node.extend(nodes)
    description = replace(read_description(path), outputs=tuple(o.name for o in graph.output), integers=())
    helper.set_model_props(model, {KEY: json.dumps(asdict(description))})
    onnx.save(model, out)


class _FloatNetwork(nn.Module):
    def __init__(self, detector: nn.Module, names: list[str]) -> None:
        super().__init__()
        self.detector, self.names = detector, names

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        raw = self.detector(images, mode="tensor")
        return tuple(raw[name] for name in self.names)


def _drop_identities(graph: onnx.GraphProto) -> None:
    outputs = {output.name for output in graph.output}
    renamed: dict[str, str] = {}
    nodes = []
    for node in graph.node:
        if node.op_type == "Identity" and node.output[0] not in outputs:
            renamed[node.output[0]] = renamed.get(node.input[0], node.input[0])
        else:
            nodes.append(node)
    _replace(graph, nodes, renamed)


def _constants_as_initializers(graph: onnx.GraphProto) -> None:
    """Constant nodes to initializers; equal ones to one."""
    renamed: dict[str, str] = {}
    known: dict[bytes, str] = {}
    kept = list(graph.initializer)
    nodes = []
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            tensor = TensorProto()
            tensor.CopyFrom(node.attribute[0].t)
            tensor.name = node.output[0]
            kept.append(tensor)
        else:
            nodes.append(node)
    initializers = []
    for tensor in kept:
        content = numpy_helper.to_array(tensor)
        key = repr((content.dtype.str, content.shape)).encode() + content.tobytes()
        renamed[tensor.name] = known.setdefault(key, tensor.name)
        if known[key] == tensor.name:
            initializers.append(tensor)
    _replace(graph, nodes, renamed)
    del graph.initializer[:]
    graph.initializer.extend(initializers)


def _name_integers(model: onnx.ModelProto) -> list[str]:
    """Numbered nodes to QuantizeLinear, their outputs' names with the number.

    Returns:
        These names in the order of the numbers; empty where a quantizer reaches no raw output, so that its node is gone.
    """
    graph, renamed = model.graph, {}
    for node in graph.node:
        if node.domain == DOMAIN:
            number = node.attribute[0].i
            renamed[node.output[0]] = f"integers_{number}"
            node.output[0] = renamed[node.output[0]]
            node.domain = ""
            del node.attribute[:]
    _replace(graph, list(graph.node), renamed)
    kept = [imported for imported in model.opset_import if imported.domain != DOMAIN]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    found = {*renamed.values()}
    last = max((int(name.rpartition("_")[2]) for name in found), default=-1)
    return [name if name in found else "" for name in (f"integers_{number}" for number in range(last + 1))]


def _merge_equal_nodes(graph: onnx.GraphProto) -> dict[str, str]:
    """Keep one of several Q or DQ nodes of the same tensor, so that backends see one range a tensor.

    Returns:
        Output of each node that is gone -> that of the one that stays.
    """
    renamed: dict[str, str] = {}
    known: dict[tuple, str] = {}
    nodes = []
    outputs = {output.name for output in graph.output}
    for node in graph.node:
        inputs = [renamed.get(name, name) for name in node.input]
        key = (node.op_type, *inputs, *(attribute.SerializeToString() for attribute in node.attribute))
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") and node.output[0] not in outputs:
            renamed[node.output[0]] = known.setdefault(key, node.output[0])
            if known[key] != node.output[0]:
                continue
        nodes.append(node)
    _replace(graph, nodes, renamed)
    return renamed


def _replace(graph: onnx.GraphProto, nodes: list[onnx.NodeProto], renamed: dict[str, str]) -> None:
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    for node in nodes:
        for index, name in enumerate(node.input):
            node.input[index] = renamed.get(name, name)
    del graph.node[:]
    graph.node.extend(nodes)


def _pack_four_bits(model: onnx.ModelProto) -> None:
    """Store the integer weights that fit into 4 bits so: two in a byte."""
    weights = {node.input[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    for initializer in model.graph.initializer:
        if initializer.name in weights and initializer.data_type == TensorProto.INT8:
            values = numpy_helper.to_array(initializer)
            if values.min() >= -8 and values.max() <= 7:
                packed = helper.make_tensor(initializer.name, TensorProto.INT4, values.shape, values.ravel())
                initializer.CopyFrom(packed)
    for imported in model.opset_import:
        if imported.domain == "":
            imported.version = OPSET_OF_4_BITS

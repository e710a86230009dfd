"""Which parts of a network are units, and in which order."""

import pytest
import small_condlane
import small_detectors
import small_ganet
import small_segmentation
import torch
from mmengine.config import Config
from originals import ROOT
from test_quantization.toy import ResidualBlock
from test_reconstruction.toy_units import Toy

from mmsf.models.blocks import BLOCKS
from mmsf.quantization import QuantizationSettings, QuantizedNetwork
from mmsf.reconstruction import TensorMemory, Unit, find_units, record
from mmsf.reconstruction.layout import Layout, layouts
from mmsf.registry import MODELS


def small_lstr() -> torch.nn.Module:
    torch.manual_seed(0)
    return MODELS.build(Config.fromfile(ROOT / "configs" / "lstr" / "lstr_tiny_synthetic.py").model).eval()


NETWORKS = {
    "lstr": (small_lstr, lambda count: torch.randn(count, 3, 32, 64)),
    "condlane": (small_condlane.small, small_condlane.images),
    "ganet": (small_ganet.small, small_ganet.images),
    **{
        family: (lambda f=family: small_detectors.small(f), lambda count, f=family: small_detectors.images(f, count))
        for family in ("bezier", "laneatt")
    },
    **{
        family: (lambda f=family: small_segmentation.small(f), small_segmentation.images)
        for family in small_segmentation.FAMILIES
    },
}
# Blocks of each family beside those of the backbone.
BLOCKS_OF = {
    "lstr": {
        *(f"transformer.{part}.layers.{i}" for part in ("encoder", "decoder") for i in (0, 1)),
        *("specific_embed", "shared_embed"),
    },
    "condlane": {
        *("neck.trans_head.attn_layers.0", "neck.trans_head.attn_layers.1"),
        *("bbox_head.ctnet_head.hm", "bbox_head.ctnet_head.params", "bbox_head.mlp"),
    },
    "ganet": {
        *("neck.trans_head.attn_layers.0", "neck.trans_head.attn_layers.1", "neck.def_convs.0"),
        *("bbox_head.keypts_head.hm", "bbox_head.offset_head.offset_map", "bbox_head.reg_head.offset_map"),
    },
    "bezier": {"dilated_blocks.0", "dilated_blocks.1", "simple_flip_2d", "regression_head"},
    "laneatt": set(),
    "scnn": {"lane_classifier"},
    "resa": {*(f"decoder.layers.{i}.follows.{j}" for i in (0, 1, 2) for j in (0, 1)), "lane_classifier"},
}


def quantized(family: str) -> tuple[QuantizedNetwork, dict[bool, list[Unit]], list[str]]:
    """The network, its units with and without blocks, and its layers in the order of their first run."""
    build, images = NETWORKS[family]
    network = QuantizedNetwork(build(), lambda n: n(images(1)), QuantizationSettings("w4a4"))

    def run(frames: int) -> object:
        with torch.no_grad(), network.running():
            return network.network(images(frames))

    order = []
    handles = [
        layer.register_forward_pre_hook(lambda *_, name=name: order.append(name))
        for name, layer in network.layer_quantizers()
    ]
    run(1)
    for handle in handles:
        handle.remove()
    units = {blocks: find_units(network, run, BLOCKS if blocks else ()) for blocks in (True, False)}
    return network, units, list(dict.fromkeys(order))


@pytest.mark.parametrize("family", NETWORKS)
def test_units_hold_every_quantized_layer_once_in_the_order_of_execution(family):
    network, units, order = quantized(family)
    for found in units.values():
        # A block's layers run together, so that units in order are layers in order.
        assert [name for unit in found for name in unit.layers] == order
        activations = [name for unit in found for name in unit.activations]
        assert sorted(activations) == sorted(name for name, _ in network.activation_quantizers())
    assert set(order) == {name for name, _ in network.layer_quantizers()}
    blocks = {unit.name for unit in units[True] if len(unit.layers) > 1}
    assert {name for name in blocks if not name.startswith("backbone.")} == BLOCKS_OF[family]
    assert {name for name in blocks if name.startswith("backbone.")} >= {"backbone.layer1.0", "backbone.layer2.0"}
    assert not [unit.name for unit in units[False] if len(unit.layers) > 1]


def test_layers_that_never_run_are_in_no_unit():
    network, units, _ = quantized("ganet")
    idle = [name for name, reason in network.left_float.items() if "never" in reason]
    assert any(name.startswith("neck.def_convs.1") for name in idle)
    assert not {name for unit in units[True] for name in unit.layers} & set(idle)


def test_the_slices_of_scnns_directions_are_tuned_as_one_run():
    _, units, _ = quantized("scnn")
    found = {unit.name: unit for unit in units[True]}
    # 8 rows and 12 columns; the way back does not update the first.
    slices = {"d": 7, "u": 6, "r": 11, "l": 10}
    for direction, count in slices.items():
        unit = found[f"scnn_layer.conv_{direction}"]
        assert (unit.recorded_calls, [call.inputs for call in unit.calls]) == (count, [(Layout(0, count),)])
        assert unit.rectified


def test_a_decoder_layer_takes_frames_from_two_inputs_and_positions_from_two_others():
    _, units, _ = quantized("lstr")
    (call,) = next(unit for unit in units[True] if unit.name == "transformer.decoder.layers.1").calls
    assert call.inputs == (Layout(0, 1), None, Layout(0, 1), None)


def test_the_layers_of_a_head_have_their_frames_behind_the_decoders_layers():
    _, units, _ = quantized("lstr")
    (call,) = next(unit for unit in units[True] if unit.name == "class_embed").calls
    assert call.inputs == call.outputs == (Layout(1, 1),)


def test_a_shared_layer_is_a_unit_with_all_its_runs():
    units = Toy().units
    assert list(units) == ["stem", "block", "shared", "up", "attention", "offset", "existence"]
    assert units["shared"].recorded_calls == 2
    # The first of its outputs alone goes through a ReLU.
    assert not units["shared"].rectified
    assert units["stem"].rectified
    assert set(units["attention"].activations) >= {"attention:matmul0.0", "attention:matmul1.1"}


def test_a_layer_that_also_runs_outside_its_block_belongs_to_no_block():
    toy = Toy()
    toy.network.network.register_forward_hook(lambda module, args, out: {**out, "more": module.block.conv1(out["map"])})
    units = {unit.name: unit for unit in find_units(toy.network, toy.run, (ResidualBlock,))}
    assert list(units["block"].layers) == ["block.conv2"]
    assert units["block.conv1"].recorded_calls == 2


def test_a_layout_takes_a_batch_apart_and_puts_it_together():
    one, two = torch.zeros(5, 3, 4), torch.arange(120.0).view(5, 6, 4)
    (layout,) = layouts([one], [two])
    assert layout == Layout(1, 3)
    rows = layout.rows(two)
    assert rows.shape == (2, 3, 5, 4)
    assert torch.equal(rows[1].movedim(0, 1), two[:, 3:])
    assert torch.equal(layout.joined(rows), two)
    assert layouts([one, "max"], [one, "max"]) == (None, None)
    with pytest.raises(ValueError, match="frames of a batch"):
        layouts([one], [torch.zeros(10, 6, 4)])


@pytest.mark.parametrize("name", ["stem", "block", "shared", "attention", "up", "offset"])
def test_what_a_unit_keeps_is_what_it_sees(name, tmp_path):
    toy = Toy()
    unit = toy.units[name]
    data = toy.data(unit, TensorMemory(tmp_path / "activations", 100, torch.device("cpu")))
    index = torch.tensor([4, 1])
    # The network on these two frames alone sees the same.
    with toy.network.in_float(toy.weights):
        runs, _ = record(unit, lambda: toy.network.network(toy.images[index]))
        inputs = [data.float_inputs.batch(number, index) for number in range(len(unit.calls))]
        outputs = [unit.outputs(call, values) for call, values in zip(unit.calls, inputs)]
    if unit.joined:
        runs = [
            (
                [torch.stack([i[0] for i, _ in runs], 1).flatten(0, 1)],
                [torch.stack([o[0] for _, o in runs], 1).flatten(0, 1)],
            )
        ]
    for number, (seen_inputs, seen_outputs) in enumerate(runs):
        for kept, seen in zip(inputs[number], seen_inputs, strict=True):
            torch.testing.assert_close(kept, seen)
        for kept, again, seen in zip(data.targets.batch(number, index), outputs[number], seen_outputs, strict=True):
            torch.testing.assert_close(kept, seen)
            torch.testing.assert_close(again, seen)

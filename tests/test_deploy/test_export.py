"""Every detector's file holds integers, runs, and gives the quantized model's lanes; what cannot is refused."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper
from test_deploy.quantized_files import FAMILIES, float_config, float_weights, write_ranges

from mmsf.deploy import open_runtime, parity
from mmsf.deploy.description import read_description
from mmsf.deploy.export import export
from mmsf.deploy.frames import read_frames
from mmsf.engine.config import read_config, set_roots
from mmsf.engine.evaluate import evaluate
from mmsf.engine.quantized_file import read_quantized
from mmsf.errors import UserError
from mmsf.quantization.dither import DitheredQuantizer


def exported(family: str, weights: Path, backend: str, roads: Path, **arguments) -> tuple[Path, parity.Parity]:
    path = weights.with_name(f"{backend}.onnx")
    found = export(float_config(family), weights, backend, path, frames=2, data_root=str(roads), **arguments)
    return path, found


def integers_of(path: Path) -> dict[int, int]:
    """Type of the initializers -> how many numbers are stored so."""
    counts: dict[int, int] = {}
    for initializer in onnx.load(path).graph.initializer:
        counts[initializer.data_type] = counts.get(initializer.data_type, 0) + int(np.prod(initializer.dims))
    return counts


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_detector_is_stored_in_integers_and_computes_the_same_lanes(
    family: str, backend: str, roads: Path, tmp_path: Path
) -> None:
    weights = write_ranges(tmp_path / "quantized.pth", family, roads, profile=backend)
    path, found = exported(family, weights, backend, roads, checkpoint=str(float_weights(family)))
    assert found.f1 >= 0.99
    assert found.failures == []
    counts = integers_of(path)
    quantized = read_quantized(weights).quantized
    assert counts[TensorProto.INT8] == sum(w.numel() for _, _, w in quantized.quantized_weights())
    biases = [layer.bias for _, layer in quantized.layer_quantizers() if layer.integer_bias]
    assert counts.get(TensorProto.INT32, 0) == sum(bias.numel() for bias in biases)
    assert bool(biases) == (backend == "onnxruntime")
    assert read_description(path).dynamic_batch
    nodes = {node.op_type for node in onnx.load(path).graph.node}
    assert ("DeformConv" in nodes) == (backend == "onnxruntime" and family in ("ganet", "bezierlanenet"))


def test_tensorrts_file_has_no_zero_points_but_zero_and_no_integer_biases(roads: Path, tmp_path: Path) -> None:
    weights = write_ranges(tmp_path / "quantized.pth", "bezierlanenet", roads, profile="tensorrt")
    path, _ = exported("bezierlanenet", weights, "tensorrt", roads)
    graph = onnx.load(path).graph
    values = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    zero_points = [values[n.input[2]] for n in graph.node if n.op_type == "QuantizeLinear"]
    assert zero_points
    assert all(z.dtype == np.int8 and z == 0 for z in zero_points)
    integers = [v for v in values.values() if v.dtype == np.int8 and v.ndim]
    assert min(v.min() for v in integers) == -127
    assert TensorProto.INT32 not in integers_of(path)


def test_a_file_is_evaluated_as_the_quantized_model_is(laneatt: Path, roads: Path, tmp_path: Path) -> None:
    path, _ = exported("laneatt", laneatt, "onnxruntime", roads)
    arguments = dict(data_root=str(roads), work_dir=str(tmp_path))
    want = evaluate(float_config("laneatt"), laneatt, **arguments)
    got = evaluate(float_config("laneatt"), path, **arguments)
    assert want["CULane/F1"] > 0.5
    assert got == pytest.approx(want, abs=0.01)
    assert evaluate(float_config("laneatt"), path, runtime="openvino", **arguments) == pytest.approx(want, abs=0.01)


def test_a_batch_gives_what_single_images_give(laneatt: Path, roads: Path) -> None:
    path, _ = exported("laneatt", laneatt, "onnxruntime", roads)
    images = frames(laneatt, roads).images
    for name in ("onnxruntime", "openvino"):
        runtime = open_runtime(path, name, threads=1)
        single = [runtime(image) for image in images.split(1)]
        for key, value in runtime(images).items():
            torch.testing.assert_close(value, torch.cat([raw[key] for raw in single]), rtol=1e-4, atol=1e-4)


def frames(weights: Path, roads: Path):
    cfg = read_config(float_config("laneatt"))
    set_roots(cfg, str(roads), None)
    return read_frames(cfg, 4, read_quantized(weights).data_preprocessor)


def test_onnxruntime_fuses_the_backbone_into_integer_kernels(laneatt: Path, roads: Path, tmp_path: Path) -> None:
    import onnxruntime

    path, _ = exported("laneatt", laneatt, "onnxruntime", roads)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(path), options)
    kinds = [node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node]
    convolutions = sum(isinstance(m, torch.nn.Conv2d) for m in read_quantized(laneatt).quantized.network.modules())
    # The last one's output is not quantized.
    assert kinds.count("QLinearConv") == convolutions - 1
    assert kinds.count("QLinearAdd") >= 4


def test_another_models_file_has_no_parity(laneatt: Path, roads: Path) -> None:
    path, _ = exported("laneatt", laneatt, "onnxruntime", roads)
    other = read_quantized(laneatt)
    with torch.no_grad():
        other.quantized.network.backbone.layer1[0].conv2.layer.bias.add_(0.05)
    found = parity.measure_parity(other, path, frames(laneatt, roads))
    assert {line.split()[0] for line in found.failures} >= {"offsets", "length"}


def test_a_file_without_parity_does_not_stand(
    laneatt: Path, roads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parity, "LEAST_F1", 1.1)  # which nothing reaches
    with pytest.raises(UserError, match="is not written, onnxruntime does not compute it"):
        export(float_config("laneatt"), laneatt, "onnxruntime", tmp_path / "x.onnx", frames=1, data_root=str(roads))
    assert list(tmp_path.iterdir()) == []


def test_weights_of_another_profile_are_refused(laneatt: Path, roads: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"profile 'onnxruntime', which tensorrt does not run.*profile=tensorrt"):
        export(float_config("laneatt"), laneatt, "tensorrt", tmp_path / "x.onnx", data_root=str(roads))


@pytest.fixture(scope="module")
def four_bits(roads: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("four") / "quantized.pth"
    return write_ranges(path, "laneatt", roads, profile="onnxruntime", bits="w4a4", dither_images=True)


def test_four_bit_activations_are_refused_unless_simulated(four_bits: Path, roads: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="onnxruntime has no numbers for 4-bit activations; --simulated"):
        exported("laneatt", four_bits, "onnxruntime", roads)
    lines: list[str] = []
    path, _ = exported("laneatt", four_bits, "onnxruntime", roads, simulated=True, say=lines.append)
    assert lines[0] == "simulated: 4-bit activations are held in 8-bit numbers"
    assert read_description(path).simulated
    # And the file computes what the model does, whose images are dithered.
    assert isinstance(read_quantized(four_bits).quantized.network.backbone.conv1.input_quantizer, DitheredQuantizer)


def test_four_bit_weights_take_half_a_byte(roads: Path, tmp_path: Path) -> None:
    weights = write_ranges(tmp_path / "quantized.pth", "laneatt", roads, profile="onnxruntime", bits="w4a8")
    path, _ = exported("laneatt", weights, "onnxruntime", roads)
    counts = integers_of(path)
    network = read_quantized(weights).quantized
    assert counts[TensorProto.INT4] == sum(w.numel() for _, _, w in network.quantized_weights())
    assert TensorProto.INT8 not in counts
    assert not read_description(path).simulated


def test_a_file_that_is_not_from_here_is_refused_in_one_line(tmp_path: Path, laneatt: Path, roads: Path) -> None:
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(b"\x08\x0a\xff\xff")
    with pytest.raises(UserError, match="does not exist"):
        open_runtime(tmp_path / "missing.onnx")
    with pytest.raises(UserError, match=r"damaged|not written by"):
        open_runtime(damaged)
    path, _ = exported("laneatt", laneatt, "onnxruntime", roads)
    foreign = onnx.load(path)
    del foreign.metadata_props[:]
    onnx.save(foreign, tmp_path / "foreign.onnx")
    with pytest.raises(UserError, match="not written by tools"):
        open_runtime(tmp_path / "foreign.onnx")
    with pytest.raises(UserError, match="unknown runtime 'tensorflow'"):
        open_runtime(path, "tensorflow")

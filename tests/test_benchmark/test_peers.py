"""The comparison with other packages, all of it but these packages: a stand-in of ours leaves the file that they leave."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_benchmark.nearest_peer import SCALE, ZERO_POINT, Affine, Job, leave

from mmsf.benchmark.comparison import Comparison, markdown
from mmsf.benchmark.environments import environment, run_script
from mmsf.benchmark.peers import PEERS, Peer, build_loop, put_activations, put_weights, read_weights, score, write_job
from mmsf.datasets.synthetic import write_dataset
from mmsf.engine.evaluate import evaluate
from mmsf.engine.ptq import ptq_config
from mmsf.errors import UserError
from mmsf.quantization import Bits
from mmsf.registry import TASK_UTILS

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "configs" / "lstr" / "lstr_tiny_synthetic.py"
CHECKPOINT = ROOT / "mmsf" / "zoo" / "lstr_tiny_synthetic.pth"
QUICK = {
    "train_cfg.weight_range.type": "mmsf.MinMaxRange",
    "train_cfg.activation_range.type": "mmsf.MinMaxRange",
    "env_cfg.mp_cfg.opencv_num_threads": 1,
}


@pytest.fixture(scope="module")
def roads(tmp_path_factory) -> Path:
    """Four frames to evaluate in ``test``, four others to calibrate in ``train``."""
    folder = tmp_path_factory.mktemp("roads")
    write_dataset(folder / "train", frames=4, seed=1)
    write_dataset(folder / "test", frames=4, seed=2)
    return folder


@pytest.fixture(scope="module")
def cfg(roads):
    return ptq_config(
        CONFIG,
        preset="adaround",
        bits="w8a8",
        presets=ROOT / "configs" / "_base_" / "ptq",
        checkpoint=str(CHECKPOINT),
        data_root=str(roads / "test"),
        calibration_root=[str(roads / "train")],
        options=QUICK,
    )


@pytest.fixture(scope="module")
def job(cfg, tmp_path_factory) -> Job:
    folder = tmp_path_factory.mktemp("peer")
    write_job(folder, cfg, iterations=7)
    return Job(folder)


@pytest.fixture(scope="module")
def left(job) -> Path:
    """The file of a peer that rounds to nearest, one layer left out."""
    leave(job)
    return job.folder / "weights.pth"


@pytest.fixture
def network(cfg, tmp_path):
    """The quantized copy of the detector, no range set yet."""
    return build_loop(cfg, tmp_path).model.quantized


MIN_MAX = TASK_UTILS.build(dict(type="mmsf.MinMaxRange"))


def test_the_job_holds_the_folded_network_and_every_place_of_the_plan(job, network):
    assert (job.bits, job.iterations, job.images.shape) == (Bits(8, 8), 7, (4, 3, 144, 400))
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in job.network.modules())
    layers = dict(network.layer_quantizers())
    assert list(job.layers) == [name for name in network.bits if name not in network.call_names]
    assert {*job.layers, *job.operands} == {name for name, _ in network.activation_quantizers()}
    for name, layer in layers.items():
        assert torch.equal(layer.weight, job.layers[name].weight)


def test_a_job_whose_float_outputs_differ_is_refused(job, tmp_path):
    content = torch.load(job.folder / "job.pth", weights_only=True)
    content["float_outputs"][0] = content["float_outputs"][0] * 1.001
    torch.save(content, tmp_path / "job.pth")
    with pytest.raises(SystemExit, match="the float network's outputs differ"):
        Job(tmp_path)


def test_a_peer_s_quantizer_with_another_grid_is_refused(job):
    other = Affine(8)
    with pytest.raises(SystemExit, match=r"conv1: the peer's quantizer and mmsf's with its scale differ in \d"):
        job.save({}, {"conv1": (other, torch.tensor(0.126), other.zero_point)}, [], 1, 1, [])


def test_layers_tuned_before_a_stop_are_put_back_and_the_rest_draws_as_without_it(cfg, tmp_path):
    def tuned(job: Job, stop_after: int = 3) -> list[torch.Tensor]:
        class Tuner:
            def tune(layer: torch.Tensor) -> None:
                layer.copy_(torch.rand(4))

        job.report_each(Tuner, "tune", kept=lambda layer: {"alpha": layer})
        torch.manual_seed(0)
        layers = [torch.zeros(4) for _ in range(3)]
        for layer in layers[:stop_after]:
            Tuner.tune(layer)
        return layers

    for name in ("whole", "stopped"):
        write_job(tmp_path / name, cfg, iterations=7)
    whole = tuned(Job(tmp_path / "whole"))
    tuned(Job(tmp_path / "stopped"), stop_after=2)
    times = [torch.load(file, weights_only=True)["seconds"] for file in sorted((tmp_path / "stopped" / "layers").iterdir())]
    job = Job(tmp_path / "stopped")
    for expected, found in zip(whole, tuned(job), strict=True):
        assert torch.equal(expected, found)
    assert job.seconds["tuning"] == pytest.approx(sum(times))
    assert len(times) == 2


def test_the_peer_s_weights_and_scales_are_what_the_network_runs_with(left, network):
    content = read_weights(left)
    put_weights(network, content, MIN_MAX)
    for name, layer in network.layer_quantizers():
        if name in content["weights"]:
            scale = content["weight_scales"][name].max()
            assert (layer.quantized_weight() - content["weights"][name]).abs().max() < 1e-4 * scale
        else:
            assert name == "backbone.conv1"
            expected = layer.weight.detach().abs().flatten(1).amax(1) / 127.5
            torch.testing.assert_close(layer.weight_quantizer.scale, expected)
    assert put_activations(network, content) == []
    for _, quantizer in network.activation_quantizers():
        assert (quantizer.scale.item(), quantizer.zero_point.item()) == (SCALE, ZERO_POINT)
    del content["activations"]["class_embed"]
    assert put_activations(network, content) == ["class_embed"]


def test_a_weight_off_its_grid_or_of_an_unknown_layer_is_refused(left, network):
    content = read_weights(left)
    content["weights"]["class_embed"] = (
        content["weights"]["class_embed"] + 0.3 * content["weight_scales"]["class_embed"].max()
    )
    with pytest.raises(UserError, match="class_embed is off the grid of its scale by 0"):
        put_weights(network, content, MIN_MAX)
    content = read_weights(left)
    content["weights"]["elsewhere"] = torch.zeros(1)
    with pytest.raises(UserError, match="the peer has tuned elsewhere, which mmsf does not quantize"):
        put_weights(network, content, MIN_MAX)


def test_a_damaged_file_of_weights_is_one_line(tmp_path):
    (tmp_path / "weights.pth").write_bytes(b"half a file")
    with pytest.raises(UserError, match=r"weights.pth cannot be read as a peer's weights"):
        read_weights(tmp_path / "weights.pth")


def test_the_written_models_score_again_as_they_were_scored(left, cfg, roads, tmp_path):
    found = score(cfg, left, tmp_path)
    for stage in ("mmsf_ranges", "own_ranges"):
        again = evaluate(
            CONFIG, tmp_path / f"quantized_{stage}.pth", data_root=str(roads / "test"), work_dir=str(tmp_path / "again")
        )
        assert {name: again[name] for name in found[stage]["metrics"]} == pytest.approx(found[stage]["metrics"], nan_ok=True)
        assert len(found[stage]["frames"]["frames"]) == 4
    # The peer's grid from -12.5 to 19.4 for every tensor is not what mmsf estimates.
    assert found["mmsf_ranges"]["metrics"] != found["own_ranges"]["metrics"]


def test_the_table_has_a_row_for_each_method_and_says_what_differs():
    row = dict(f1=0.5, standard_error=0.01)
    content = dict(
        detector="lstr",
        bits="w4a4",
        frames=dict(calibration=8, evaluation=12),
        rows=[
            dict(row, method="float", ranges=None),
            dict(row, method="AIMET AdaRound", ranges="its own", iterations=200, batch_size=32, seconds=61.7),
        ],
        peers=dict(aimet=dict(versions={"torch": "2.13.0"}, differences=["another range"], operands_left_to_mmsf=["a.0"])),
    )
    text = markdown(content)
    assert "| float | – | 50.00 ± 1.00 | – | – | – |" in text
    assert "| AIMET AdaRound | its own | 50.00 ± 1.00 | 200 | 32 | 62 |" in text
    assert (
        "AIMET AdaRound (torch 2.13.0), otherwise than mmsf's AdaRound:\n\n- another range\n- ranges left to mmsf: a.0"
        in text
    )


def test_a_requirement_that_cannot_be_had_is_pip_s_last_error(tmp_path):
    absent = str(tmp_path / "absent-1.0-py3-none-any.whl")
    said = []
    with pytest.raises(UserError, match=r"pip install .* failed: ERROR: .*absent") as error:
        environment(tmp_path / "env", [["--no-index", absent]], said.append)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "env" / "requirements.txt").exists()


def test_a_script_s_marked_lines_are_passed_on_and_its_last_line_tells_why_it_failed(tmp_path):
    said = []
    code = "print('chatter'); print('> layer 1 of 2'); raise SystemExit('no such layer')"
    assert run_script([sys.executable, "-c", code], tmp_path / "log", said.append) == "no such layer"
    assert said == ["  layer 1 of 2"]
    assert "chatter" in (tmp_path / "log").read_text()
    assert run_script([sys.executable, "-c", ""], tmp_path / "log", said.append) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--peers", "nncf"], "there is no peer 'nncf'; known: aimet, brevitas"),
        (["--iterations", "0"], "--iterations must be at least 1; got 0"),
        (["--frames", "-1"], "--frames must be at least 1; got -1"),
        (["--bits", "w3a9"], "no preset 'adaround' at 'w3a9'"),
    ],
)
def test_a_wrong_argument_is_one_line(arguments, message, tmp_path):
    given = dict(zip(arguments[::2], arguments[1::2]))
    with pytest.raises(UserError, match=message):
        Comparison(
            CONFIG,
            str(CHECKPOINT),
            given.get("--bits", "w4a4"),
            ROOT,
            tmp_path,
            [given.get("--peers", "aimet")],
            frames=int(given["--frames"]) if "--frames" in given else None,
            iterations=int(given["--iterations"]) if "--iterations" in given else None,
        )


def test_the_tool_ends_with_status_2_where_the_checkpoint_is_missing(tmp_path, roads):
    command = [sys.executable, str(ROOT / "tools" / "compare_peers.py"), str(CONFIG), "absent.pth", "--bits", "w4a4"]
    command += ["--data-root", str(roads / "test"), "--work-dir", str(tmp_path)]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert process.returncode == 2
    assert process.stderr.splitlines()[-1].startswith("error: ")
    assert "checkpoint absent.pth is not there" in process.stderr


@pytest.mark.slow
def test_a_comparison_runs_through_and_does_nothing_twice(roads, tmp_path, monkeypatch):
    monkeypatch.setitem(PEERS, "nearest", Peer("Nearest", "../../tests/test_benchmark/nearest_peer.py", ()))
    python = tmp_path / "environments" / "nearest" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    comparison = Comparison(
        CONFIG,
        str(CHECKPOINT),
        "W8A8",
        ROOT,
        tmp_path,
        ["nearest"],
        iterations=1,
        data_root=str(roads / "test"),
        calibration_root=[str(roads / "train")],
    )
    requirements = "".join(" ".join(row) + "\n" for row in comparison._requirements("nearest"))
    (python.parents[1] / "requirements.txt").write_text(requirements)
    said = []
    text = comparison.run(said.append)
    assert "  rounding" in said
    content = json.loads((tmp_path / "comparison.json").read_text())
    assert [(row["method"], row["ranges"]) for row in content["rows"]] == [
        ("float", None),
        ("mmsf, rounded to nearest", "mmsf"),
        ("mmsf AdaRound", "mmsf"),
        ("Nearest", "mmsf"),
        ("Nearest", "its own"),
    ]
    assert [row.get("iterations") for row in content["rows"]] == [None, None, 1, 1, 1]
    assert content["frames"] == {"calibration": 4, "evaluation": 4}
    assert content["peers"]["nearest"]["differences"] == [
        "made by a stand-in",
        "not tuned, rounded to nearest by mmsf: backbone.conv1",
    ]
    assert text == (tmp_path / "comparison.md").read_text()
    said.clear()
    assert comparison.run(said.append) == text
    assert said == []

"""Weights that other packages have rounded, in mmsf's quantizers: the same network, frames, placement and metric.

A peer works in an environment of its own (`tools/peers`). It is given a job, the detector's config and calibration images,
and leaves weights on its grids, with the scales of its weights and activations; here they are put into mmsf's quantized copy
of the detector and scored like any other.
"""

import copy
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmsf.engine.calibration import CalibrationFrames
from mmsf.engine.loop import PTQLoop
from mmsf.engine.quantized_file import write_quantized
from mmsf.engine.wrapper import QuantWrapper
from mmsf.errors import UserError
from mmsf.files import whole_or_absent
from mmsf.quantization import QuantizedNetwork, RangeEstimator

# Frames whose float outputs the peer must reproduce.
CHECKED = 2


@dataclass(frozen=True)
class Peer:
    """A package to compare with.

    Attributes:
        title: Of its method.
        script: In ``tools/peers``.
        requirements: What pip installs beside mmsf.
    """

    title: str
    script: str
    requirements: tuple[str, ...]


PEERS = {
    # Without the pins pip takes the newest torch that a torchvision goes with.
    "aimet": Peer("AIMET AdaRound", "aimet_adaround.py", ("aimet-torch==2.42.0", "torch==2.13.0", "torchvision==0.28.0")),
    "brevitas": Peer(
        "Brevitas learned round",
        "brevitas_learned_round.py",
        ("brevitas==0.13.4", "torch==2.13.0", "accelerate==1.15.0", "tqdm"),
    ),
}


def write_job(folder: str | Path, cfg: Config, iterations: int | None) -> None:
    """Write ``job.pth``: what a peer needs.

    Args:
        folder: The peer's.
        cfg: PTQ config, complete.
        iterations: Of every layer; None takes the peer's default.
    """
    loop = build_loop(cfg, folder)
    frames = CalibrationFrames.collect(loop.dataloader, loop.memory)
    batch = loop.preprocess(frames.batch(list(range(min(CHECKED, len(frames))))))
    content = dict(
        model=Config(dict(model=cfg.model.to_dict())).pretty_text,
        images=frames.images,
        float_outputs=[output.cpu() for output in loop.model.float_raw(batch["inputs"]).values()],
        iterations=iterations,
    )
    with whole_or_absent(Path(folder) / "job.pth") as temporary:
        torch.save(content, temporary)


def read_weights(path: str | Path) -> dict[str, dict]:
    """What a peer has left: ``weights`` and ``weight_scales`` by layer, ``activations`` (scale, zero point) by quantizer.

    Raises:
        UserError: The file cannot be read.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        return {key: dict(content[key]) for key in ("weights", "weight_scales", "activations")}
    except Exception as error:  # torch.load raises nearly anything on a damaged file
        raise UserError(f"{path} cannot be read as a peer's weights: {type(error).__name__}") from error


def put_weights(network: QuantizedNetwork, content: dict[str, dict], weight_range: RangeEstimator) -> None:
    """Put a peer's weights and their scales into a quantized network; a layer that it left out is rounded to nearest.

    Args:
        network: The network.
        content: Of `read_weights`.
        weight_range: For what was left out.

    Raises:
        UserError: A layer is not known, or a weight does not lie on the grid of its scale.
    """
    left = set(content["weights"])
    for name, quantizer, weight in network.quantized_weights():
        if name not in left:
            weight_range.set_weight_range(quantizer, weight)
            continue
        left.remove(name)
        given, scale = content["weights"][name].to(weight), content["weight_scales"][name].to(weight)
        if given.shape != weight.shape or scale.shape != quantizer.scale.shape:
            raise UserError(f"the peer's weight of {name} has shape {tuple(given.shape)}, not {tuple(weight.shape)}")
        with torch.no_grad():
            weight.copy_(given)
            quantizer.scale.copy_(scale)
            off = ((quantizer(weight) - weight).abs() / quantizer.grid_for(weight)[0]).max().item()
        if not off < 1e-3:
            raise UserError(f"the peer's weight of {name} is off the grid of its scale by {off:.2g} steps")
    if left:
        raise UserError(f"the peer has tuned {', '.join(sorted(left))}, which mmsf does not quantize")


def put_activations(network: QuantizedNetwork, content: dict[str, dict]) -> list[str]:
    """Put a peer's scales and zero points of activations into a quantized network.

    Returns:
        Quantizers for which the peer has none; they stay as they are.
    """
    missing = []
    for name, quantizer in network.activation_quantizers():
        if name not in content["activations"]:
            missing.append(name)
            continue
        scale, zero_point = content["activations"][name]
        with torch.no_grad():
            quantizer.scale.copy_(scale)
            quantizer.zero_point.copy_(zero_point)
    return missing


def score(cfg: Config, weights: str | Path, folder: str | Path) -> dict[str, dict]:
    """Evaluate a peer's weights twice: activation ranges set by mmsf, as after its own AdaRound, then the peer's ranges.

    Writes ``quantized_mmsf_ranges.pth`` and ``quantized_own_ranges.pth``, which `tools/test.py` evaluates.

    Args:
        cfg: PTQ config, complete.
        weights: The peer's file.
        folder: Where to write.

    Returns:
        "mmsf_ranges" and "own_ranges" -> ``metrics`` and ``frames``, what every evaluation frame counts.

    Raises:
        UserError: The file does not fit the network.
    """
    content = read_weights(weights)
    loop = build_loop(cfg, folder)
    network = loop.model.quantized
    put_weights(network, content, loop.weight_range)
    loop.frames = CalibrationFrames.collect(loop.dataloader, loop.memory)
    network.set_activation_ranges(loop.observe(), loop.activation_range)
    found = {"mmsf_ranges": _evaluate(loop, cfg, folder, "mmsf_ranges")}
    missing = put_activations(network, content)
    return {**found, "own_ranges": {**_evaluate(loop, cfg, folder, "own_ranges"), "missing": missing}}


def _evaluate(loop: PTQLoop, cfg: Config, folder: str | Path, stage: str) -> dict:
    loop.evaluate(stage)
    model: QuantWrapper = loop.model
    write_quantized(Path(folder) / f"quantized_{stage}.pth", model, cfg)
    return {"metrics": loop.stages[stage], "frames": loop.frame_scores[stage]}


def build_loop(cfg: Config, folder: str | Path) -> PTQLoop:
    """The loop of a PTQ config, its model built, nothing run; ``folder`` is its work directory. It logs errors only."""
    cfg = copy.deepcopy(cfg)
    cfg.log_level = "ERROR"
    cfg.work_dir, cfg.resume, cfg.load_from = str(folder), False, None
    return Runner.from_cfg(cfg).train_loop

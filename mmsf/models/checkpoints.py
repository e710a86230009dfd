"""Float checkpoints of original projects: which family a file belongs to, what its keys are called here, strict loading."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from mmsf import safe_globals
from mmsf.errors import UserError
from mmsf.models.detectors.adapted import AdaptedDetector
from mmsf.models.families.bezier import BEZIER
from mmsf.models.families.condlane import CONDLANE
from mmsf.models.families.family import Family, StateDict, count_batches, resnet_config
from mmsf.models.families.ganet import GANET
from mmsf.models.families.laneatt import LANEATT
from mmsf.models.families.resa import RESA
from mmsf.models.families.scnn import SCNN

# Where projects keep the weights inside a checkpoint: MMEngine and mmcv, pytorch-auto-drive and LaneATT, CLRNet.
_CONTAINERS = ("state_dict", "model", "net")
# Operation counts that the thop profiler leaves in a state dict.
_PROFILER_KEYS = re.compile(r"(^|\.)total_(ops|params)$")
_PACKED = re.compile(r"(.*\.|)in_proj_(weight|bias)$")


def unpack_attention(state: StateDict) -> StateDict:
    """Give torch's packed attention projections their own keys; other keys stay."""
    unpacked = {}
    for key, value in state.items():
        match = _PACKED.match(key)
        if match:
            for name, part in zip("qkv", value.chunk(3)):
                unpacked[f"{match[1]}{name}_proj.{match[2]}"] = part.clone()
        else:
            unpacked[key] = value
    return unpacked


def rename_lstr(state: StateDict) -> StateDict:
    """Keys of the authors' LSTR (no ``backbone.``, first batch norm frozen) or of pytorch-auto-drive's."""
    stem = re.compile(r"(conv1|bn1|layer[1-4])\.")
    return unpack_attention(count_batches({f"backbone.{k}" if stem.match(k) else k: v for k, v in state.items()}))


def lstr_model_config(state: StateDict) -> dict:
    """Sizes of an LSTR, read off its weights. Adapter and preprocessing are the defaults: weights do not tell them."""
    backbone = resnet_config(state)
    return dict(
        type="LSTR",
        backbone=backbone,
        backbone_channels=backbone["widths"][-1],
        channels=state["query_embed.weight"].shape[1],
        feedforward_channels=state["transformer.encoder.layers.0.linear1.weight"].shape[0],
        num_queries=state["query_embed.weight"].shape[0],
        num_classes=state["class_embed.weight"].shape[0],
        adapter=dict(type="LSTRAdapter"),
    )


FAMILIES = {
    "lstr": Family("LSTR", ("query_embed.weight", "specific_embed."), rename_lstr, lstr_model_config),
    "bezier": BEZIER,
    "laneatt": LANEATT,
    "scnn": SCNN,
    "resa": RESA,
    "condlane": CONDLANE,
    "ganet": GANET,
    "clrnet": Family("CLRNet", ("heads.prior_embeddings.",)),
    "clrernet": Family("CLRerNet", ("bbox_head.anchor_generator.prior_embeddings.",)),
}


@dataclass
class OriginalCheckpoint:
    """What a file held.

    Attributes:
        state: Weights, without wrappers' prefixes and profilers' keys; original names.
        notes: What was taken off, for people.
    """

    state: StateDict
    notes: list[str] = field(default_factory=list)


def read_checkpoint(path: str | Path, trusted: bool = False) -> OriginalCheckpoint:
    """Read the weights of a checkpoint file; nothing in the file is executed, unless it is trusted.

    Args:
        path: The file.
        trusted: As `mmsf.safe_globals.load`.

    Returns:
        Its weights.

    Raises:
        UserError: The file is missing, holds no weights, or NaN or infinite ones.
    """
    content = safe_globals.load(path, trusted)
    notes = []
    if isinstance(content, dict):
        for name in _CONTAINERS:
            if isinstance(content.get(name), dict):
                notes += [f"took '{name}' and left {', '.join(sorted(map(str, set(content) - {name})))}"] * (
                    len(content) > 1
                )
                content = content[name]
                break
    if not isinstance(content, dict) or not any(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()
    ):
        raise UserError(f"{path} holds no weights; give a checkpoint that a training wrote")
    state = {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if all(key.startswith("module.") or _PROFILER_KEYS.search(key) for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
        notes.append("took the prefix 'module.' off")
    kept = {key: value for key, value in state.items() if not _PROFILER_KEYS.search(key)}
    if len(kept) < len(state):
        notes.append(f"dropped {len(state) - len(kept)} operation counts (total_ops, total_params)")
    # As they will be in the model.
    floats = {key: value.float() for key, value in kept.items() if value.is_floating_point() and _is_plain(value)}
    if broken := [key for key, value in floats.items() if not value.isfinite().all()]:
        raise UserError(f"{path}: {broken[0]} has NaN or infinite numbers; give weights of a training that went well")
    return OriginalCheckpoint(kept, notes)


def recognise(state: StateDict) -> str | None:
    """Name of the family in `FAMILIES` whose signs all stand in a state dict; None if there is none."""
    for name, family in FAMILIES.items():
        if all(any(key.startswith(sign) for key in state) for sign in family.signs):
            return name
    return None


def convert(state: StateDict, family: str) -> StateDict:
    """Rename a state dict of a family that mmsf has; a state dict that has mmsf's names already stays as it is."""
    return FAMILIES[family].rename(state)


def _is_plain(tensor: Tensor) -> bool:
    """Whether it holds real numbers one by one."""
    return tensor.layout == torch.strided and not (tensor.is_quantized or tensor.is_complex() or tensor.is_meta)


def _difference(ours: StateDict, given: StateDict) -> str | None:
    """The first thing that keeps a state dict from loading strictly."""
    missing, unexpected = [k for k in ours if k not in given], [k for k in given if k not in ours]
    if missing:
        return f"{len(missing)} weights are missing, such as {missing[0]}"
    if unexpected:
        return f"{len(unexpected)} weights have no place, such as {unexpected[0]}"
    for key, value in ours.items():
        if value.shape != given[key].shape:
            return f"{key} is {tuple(given[key].shape)}, the model has {tuple(value.shape)}"
        if not _is_plain(given[key]):
            return f"{key} is no plain tensor of real numbers"
    return None


def load_float_checkpoint(model: nn.Module, path: str | Path, trusted: bool = False) -> list[str]:
    """Load float weights strictly: an original project's file, or one that MMEngine or `tools/convert_checkpoint.py` wrote.

    Args:
        model: The float detector.
        path: The checkpoint file.
        trusted: As `mmsf.safe_globals.load`.

    Returns:
        What was left out of the file, for people.

    Raises:
        UserError: The file is missing, is no checkpoint, or belongs to another model.
    """
    if isinstance(model, AdaptedDetector):
        model = model.detector
    checkpoint = read_checkpoint(path, trusted)
    ours = model.state_dict()
    wanted, found = recognise(ours), recognise(checkpoint.state)
    if wanted is not None and found != wanted:
        looks = "no model known here" if found is None else FAMILIES[found].title
        raise UserError(
            f"{path} looks like {looks}, but the config is of {FAMILIES[wanted].title}; give one that fits the other"
        )
    try:
        state = checkpoint.state if found is None or FAMILIES[found].rename is None else convert(checkpoint.state, found)
    except (IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"{path} looks like {FAMILIES[found].title}, but its weights do not: {error!r}") from error
    difference = _difference(ours, state)
    if difference is not None:
        raise UserError(f"{path} does not fit the config's model: {difference}; give the config this file was trained with")
    model.load_state_dict(state, strict=True)
    return checkpoint.notes

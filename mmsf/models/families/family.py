"""What a model family is, and what the renaming of several families needs."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

StateDict = dict[str, Tensor]


@dataclass
class Family:
    """A model family.

    Attributes:
        title: Its name for people.
        signs: Keys or beginnings of keys that all stand in its state dicts and not together in another family's.
        rename: Turns original keys into the ones used here; None for a family whose detector is not part of mmsf.
        model_config: The detector's config read off a renamed state dict; None as for ``rename``.
    """

    title: str
    signs: tuple[str, ...]
    rename: Callable[[StateDict], StateDict] | None = None
    model_config: Callable[[StateDict], dict] | None = None


def count_batches(state: StateDict) -> StateDict:
    """Add the counter that frozen batch norms lack and make every counter a scalar; it plays no part in evaluation."""
    counted = {}
    for key, value in state.items():
        counted[key] = value.reshape(()) if key.endswith("num_batches_tracked") else value
        counter = key.removesuffix("running_var") + "num_batches_tracked"
        if key.endswith("running_var") and counter not in state:
            counted[counter] = torch.tensor(0)
    return counted


def replace_beginnings(state: StateDict, names: dict[str, str]) -> StateDict:
    """Keys that begin with a key of ``names`` begin with its value instead; other keys stay."""
    replaced = {}
    for key, value in state.items():
        old = next((name for name in names if key.startswith(name)), "")
        replaced[names.get(old, "") + key.removeprefix(old)] = value
    return replaced


def resnet_config(state: StateDict) -> dict:
    """Config of the ResNet of basic blocks whose weights stand below ``backbone.``; its last stage is its output."""
    blocks = [re.match(r"backbone\.layer(\d)\.(\d+)\.conv1\.weight", key) for key in state]
    layers = [0] * max(int(block[1]) for block in blocks if block)
    for block in filter(None, blocks):
        layers[int(block[1]) - 1] += 1
    widths = [state[f"backbone.layer{i + 1}.0.conv1.weight"].shape[0] for i in range(len(layers))]
    return dict(type="ResNet", layers=layers, widths=widths, out_indices=(len(layers) - 1,))

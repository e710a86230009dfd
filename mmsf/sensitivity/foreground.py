"""Where in a head noise moves lanes: the Lane Distortion Score of single places, under equal noise."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mmsf.adapters.base import Adapter, HeadOutputs
from mmsf.lanes.distortion import DistortionRule
from mmsf.lanes.lane import Lane
from mmsf.sensitivity.scoring import DistortionScorer, repeat_heads

MAX_BLOCKS = 400
FOREGROUND = 0.5  # a block whose confidence reaches this is foreground
VERSIONS_AT_ONCE = 64
NUMBERS_AT_ONCE = 2**22  # of a head, decoded at a time, to bound the memory


@dataclass(frozen=True)
class ForegroundMap:
    """How far lanes of one frame move when single places of a head are disturbed, all by the same noise.

    Places are a head's axes without the batch and the channels: cells (h, w), candidates (N,), or cells of the maps of
    several candidates (K, h, w). Blocks join neighbouring places along the last axes where there are too many.

    Attributes:
        scores: Lane Distortion Score of each block, the mean over the draws: (h', w'), (N',) or (K, h', w').
        confidence: The largest confidence in each block, same shape.
        block: Places on the side of a block.
        places: Shape of the places.
    """

    scores: np.ndarray
    confidence: np.ndarray
    block: int
    places: tuple[int, ...]

    @property
    def foreground_share(self) -> tuple[float, float]:
        """Share of the blocks that are foreground, and of all distortion that comes from them (0 without any)."""
        foreground = self.confidence >= FOREGROUND
        total = self.scores.sum()
        return float(foreground.mean()), float(self.scores[foreground].sum() / total) if total > 0 else 0.0


def foreground_map(
    adapter: Adapter,
    heads: HeadOutputs,
    name: str,
    size: Tensor,
    meta: dict,
    rule: DistortionRule,
    generator: torch.Generator,
    draws: int = 2,
    max_blocks: int = MAX_BLOCKS,
) -> ForegroundMap:
    """Disturb one block of places at a time, decode, and score.

    Every place gets noise of exactly the given size in every channel; the signs are drawn once for a block and are the same
    in all blocks. Maps of candidates that have no confidence at all are not tried: their scores are 0.

    Args:
        adapter: The family's adapter.
        heads: Heads of the float model for one frame.
        name: The semantic head.
        size: Size of the noise in each channel, broadcastable to the head, such as `mmsf.adapters.errors.channel_rms`.
        meta: Metainfo of the frame.
        rule: Of the Lane Distortion Score.
        generator: Source of the signs.
        draws: How often signs are drawn.
        max_blocks: Blocks grow until there are at most so many.

    Source:
        Selective Focus, Figure 4, left.
    """
    clean = heads.semantics[name]
    axis = adapter.channel_axis % clean.dim()
    gate = adapter.gate(heads, name).expand_as(clean).amax(axis)[0]  # (places)
    blocks = _Blocks.of(gate, max_blocks)
    scorer = DistortionScorer(adapter, heads, [meta], rule)
    channels = clean.shape[axis]
    spatial = gate.shape[-2:]
    at_once = max(1, min(VERSIONS_AT_ONCE, NUMBERS_AT_ONCE // clean.numel()))
    total = np.zeros(blocks.count)
    for _ in range(draws):
        signs = torch.randint(2, (channels, *[blocks.side] * len(spatial)), generator=generator) * 2.0 - 1
        for number, length in enumerate(spatial, 1):
            signs = signs.index_select(number, torch.arange(length) % blocks.side)
        # (1, C, places): the maps of all candidates get the same.
        noise = signs.view(1, channels, *[1] * (gate.dim() - len(spatial)), *spatial) * size.movedim(axis, 1)
        scores = []
        for numbers in torch.arange(blocks.count).split(at_once):
            disturbed = blocks.numbers == numbers.view(-1, *[1] * gate.dim())  # (n, places)
            noisy = clean + torch.where(disturbed[:, None], noise, 0.0).movedim(1, axis)
            scores.append(scorer(name, noisy))
        total += np.concatenate(scores) / draws
    tried = blocks.numbers >= 0
    confidence = torch.zeros(blocks.count).scatter_reduce(0, blocks.numbers[tried], gate[tried].float(), "amax")
    return ForegroundMap(blocks.laid_out(total), blocks.laid_out(confidence.numpy()), blocks.side, tuple(gate.shape))


@dataclass(frozen=True)
class _Blocks:
    """How places are joined.

    Attributes:
        numbers: (places) the block of each place, -1 where none is tried.
        used: (K,) which candidates' maps are tried; one map where there are no candidates.
        shape: Blocks of all maps, as `ForegroundMap.scores` has them.
        side: Places on the side of a block.
    """

    numbers: Tensor
    used: Tensor
    shape: tuple[int, ...]
    side: int

    @property
    def count(self) -> int:
        return int(self.numbers.max()) + 1

    @classmethod
    def of(cls, gate: Tensor, most: int) -> "_Blocks":
        """At most so many blocks for confidences of the shape of the places."""
        height, width = (1, *gate.shape)[-2:]
        maps = gate.reshape(-1, height, width)
        used = maps.flatten(1).amax(1) > 0
        if not used.any() or len(used) == 1:
            used = torch.ones_like(used)
        side = 1
        while int(used.sum()) * -(-height // side) * -(-width // side) > most and side < max(height, width):
            side += 1
        rows, columns = -(-height // side), -(-width // side)
        within = (torch.arange(height) // side)[:, None] * columns + torch.arange(width) // side
        numbers = (used.cumsum(0) - 1)[:, None, None] * (rows * columns) + within
        numbers = torch.where(used[:, None, None], numbers, -1).view(gate.shape)
        return cls(numbers, used, (*gate.shape[:-2], *(rows, columns)[-min(gate.dim(), 2) :]), side)

    def laid_out(self, values: np.ndarray) -> np.ndarray:
        """One value a block to `shape`; 0 where none was tried."""
        laid = np.zeros((len(self.used), len(values) // int(self.used.sum())))
        laid[self.used.numpy()] = values.reshape(-1, laid.shape[1])
        return laid.reshape(self.shape)


def candidate_lanes(adapter: Adapter, heads: HeadOutputs, name: str, meta: dict) -> list[list[Lane]] | None:
    """The lane that each candidate stands for, decoded as if it alone were certain.

    Args:
        adapter: The family's adapter.
        heads: Heads of one frame.
        name: A semantic head.
        meta: Metainfo of the frame.

    Returns:
        For each place of the head the lane, if decoding gives one; None where places are no candidates: cells of maps, or
        numbers that all candidates share.
    """
    places = heads.semantics[name].shape[1]
    (confidence, *others) = heads.confidences.items()
    if others or heads.semantics[name].dim() != 3 or confidence[1].shape[1] != places:
        return None
    lanes = []
    for numbers in torch.arange(places).split(VERSIONS_AT_ONCE):
        many = repeat_heads(heads, len(numbers))
        certain = torch.zeros_like(many.confidences[confidence[0]])
        # Where there are several classes, the lane's is the first.
        certain.view(len(numbers), places, -1)[torch.arange(len(numbers)), numbers, 0] = 1.0
        many.confidences[confidence[0]] = certain
        lanes += adapter.decode(many, [meta] * len(numbers))
    return lanes

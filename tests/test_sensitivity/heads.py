"""A family simple enough to know every answer: lanes are lines x = position + bend * (y - 300)."""

import numpy as np
import torch

from mmsf.adapters.base import Adapter, HeadOutputs
from mmsf.lanes.lane import Lane

ROWS = np.arange(100.0, 590.0, 20.0)


class LineAdapter(Adapter):
    """Heads ``position`` (B, Q, 1), hundreds of pixels, and ``bend`` (B, Q, 1); confidence ``lane`` (B, Q)."""

    semantic_heads = ("position", "bend")

    def split(self, raw: dict[str, torch.Tensor]) -> HeadOutputs:
        lines = raw["lines"]
        return HeadOutputs({"position": lines[..., :1], "bend": lines[..., 1:]}, {"lane": raw["logits"].sigmoid()})

    def gate(self, heads: HeadOutputs, name: str) -> torch.Tensor:
        return heads.confidences["lane"][..., None]

    def decode(self, heads: HeadOutputs, metas: list[dict]) -> list[list[Lane]]:
        lanes = []
        for image in range(len(metas)):
            kept = heads.confidences["lane"][image] > 0.5
            position, bend = (heads.semantics[n][image, kept, 0].numpy() for n in ("position", "bend"))
            xs = 100 * position[:, None] + bend[:, None] * (ROWS - 300)
            lanes.append([Lane(np.stack((x, ROWS), 1)) for x in xs])
        return lanes

    def points(self, heads: HeadOutputs, reference: HeadOutputs) -> torch.Tensor:
        rows = torch.from_numpy(ROWS).float()
        return 100 * heads.semantics["position"] + heads.semantics["bend"] * (rows - 300)

    def point_weights(self, reference: HeadOutputs) -> torch.Tensor:
        return self.gate(reference, "position").expand(-1, -1, len(ROWS))


def line_heads(frames: int = 8, seed: int = 0) -> tuple[LineAdapter, HeadOutputs, list[dict]]:
    """Four queries a frame, two of them lanes."""
    adapter = LineAdapter()
    generator = torch.Generator().manual_seed(seed)
    raw = {
        "lines": torch.rand(frames, 4, 2, generator=generator) * torch.tensor([12.0, 0.2]) + torch.tensor([2.0, 0.0]),
        "logits": torch.tensor([4.0, 3.0, -4.0, -5.0]).repeat(frames, 1),
    }
    return adapter, adapter.split(raw), [dict(ori_shape=(590, 1640))] * frames


def with_noise(heads: HeadOutputs, name: str, size: float, seed: int = 1) -> HeadOutputs:
    """The heads with Gaussian noise on one of them."""
    noise = torch.randn(heads.semantics[name].shape, generator=torch.Generator().manual_seed(seed))
    return HeadOutputs({**heads.semantics, name: heads.semantics[name] + size * noise}, heads.confidences, heads.constants)

"""A stand-in for another package: rounds to nearest on its own grids, and leaves what a peer leaves.

As a script it does so with the job in a folder, in a process of its own: ``python nearest_peer.py FOLDER``.
"""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools" / "peers"))
from exchange import Job, say

SCALE, ZERO_POINT = 0.125, 100.0


class Affine(torch.nn.Module):
    """A quantizer of activations as a peer would have it: unsigned integers, written another way than mmsf's."""

    def __init__(self, bits: int, scale: float = SCALE, zero_point: float = ZERO_POINT) -> None:
        super().__init__()
        self.largest, self.scale, self.zero_point = 2**bits - 1, torch.tensor(scale), torch.tensor(zero_point)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        integers = (x / self.scale).round() + self.zero_point
        return (integers.clamp(0, self.largest) - self.zero_point) * self.scale


def leave(job: Job) -> None:
    """Round every layer but the first, which stays untouched, and write the files."""
    weights = {}
    for name, layer in list(job.layers.items())[1:]:
        largest = layer.weight.detach().flatten(1).abs().amax(1).clamp(min=1e-8)
        scale = largest.view(-1, *[1] * (layer.weight.dim() - 1)) / (2 ** (job.bits.weight - 1) - 1)
        weights[name] = (layer.weight / scale).round() * scale, scale
    quantizers = {name: Affine(job.bits.activation) for name in [*job.layers, *job.operands]}
    job.seconds["tuning"] = 1.5
    activations = {name: (q, q.scale, q.zero_point) for name, q in quantizers.items()}
    job.save(weights, activations, ["numpy"], job.iterations, 2, ["made by a stand-in"])


if __name__ == "__main__":
    say("rounding")
    leave(Job(sys.argv[1]))

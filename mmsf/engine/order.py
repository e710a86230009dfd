"""An endless order of frames that a resumed run meets again."""

import torch


class EndlessOrder:
    """An endless row of seeded permutations; what stands at a position depends on nothing but length, seed and position.

    Args:
        length: Frames in all.
        seed: The run's.
    """

    def __init__(self, length: int, seed: int) -> None:
        self.length, self.seed = length, seed
        self._epoch, self._order = -1, torch.empty(0)

    def __getitem__(self, position: int) -> int:
        epoch, place = divmod(position, self.length)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            self._epoch, self._order = epoch, torch.randperm(self.length, generator=generator)
        return int(self._order[place])

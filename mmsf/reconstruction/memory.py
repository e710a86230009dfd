"""Room for tensors that are kept while a network is calibrated: in memory up to a limit, beyond it in files."""

import os
import tempfile
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from mmsf.errors import UserError

MEGABYTE = 2**20


class TensorMemory:
    """Room for tensors: on a device up to a limit, then in memory-mapped files, which are read as they are needed.

    A file has no name any more once it is mapped: it is gone with its tensor, also when the process is killed.

    Args:
        folder: Where files lie; is made when it is needed.
        limit_mb: Megabytes (2^20 bytes) on the device.
        device: Where tensors within the limit lie.

    Attributes:
        held: Bytes on the device that were given out.
        spilled: Bytes in files that were given out.
    """

    def __init__(self, folder: Path, limit_mb: float, device: torch.device) -> None:
        if limit_mb < 0:
            raise UserError(f"memory_mb must not be negative; got {limit_mb}")
        self.folder, self.device = Path(folder), device
        self._limit = limit_mb * MEGABYTE
        self.held = self.spilled = 0

    @property
    def free(self) -> float:
        """Bytes on the device that are left."""
        return self._limit - self.held

    def rest(self, device: torch.device, without: float = 0) -> "TensorMemory":
        """Room of its own for tensors that live shorter: what is left here, on a device, but for ``without`` bytes."""
        return TensorMemory(self.folder, (self.free - without) / MEGABYTE, device)

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """A contiguous tensor, not initialised.

        Raises:
            UserError: It must go to a file, and the disk has no room for it.
        """
        size = prod(shape) * dtype.itemsize
        if self.held + size <= self._limit:
            self.held += size
            return torch.empty(shape, dtype=dtype, device=self.device)
        self.folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".kept-", dir=self.folder)
        try:
            # A write to a mapped file for which there is no room would kill the process.
            os.posix_fallocate(handle, 0, size)
            tensor = torch.from_file(name, shared=True, size=prod(shape), dtype=dtype).view(shape)
        except OSError as error:
            raise UserError(
                f"no room for {size / MEGABYTE:.0f} MB in {self.folder} ({error.strerror}); make room, or raise "
                "train_cfg.memory_mb"
            ) from error
        finally:
            os.close(handle)
            os.unlink(name)
        self.spilled += size
        return tensor


def put_frames(kept: dict[str, Tensor], tensors: dict[str, Tensor], first: int, frames: int, memory: TensorMemory) -> None:
    """Put tensors of some frames into those of all frames, which are made when the first of them come.

    Args:
        kept: Name -> (N, ...), filled.
        tensors: Name -> (B, ...) for B frames that follow each other.
        first: Place of the first of them.
        frames: N.
        memory: Where the tensors of all frames are made.
    """
    for name, tensor in tensors.items():
        if name not in kept:
            kept[name] = memory.empty((frames, *tensor.shape[1:]), tensor.dtype)
        kept[name][first : first + len(tensor)] = tensor

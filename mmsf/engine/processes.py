"""Several processes: how they are started, share work, and stay equal."""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch
from mmengine.config import Config
from mmengine.dist import all_gather_object, broadcast_object_list, get_rank, get_world_size, is_distributed
from mmengine.model import is_model_wrapper
from torch import nn

from mmsf.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")


def start(cfg: Config, launcher: str) -> None:
    """Prepare a config for a launcher; on machines without a GPU also join the processes, over gloo.

    Args:
        cfg: The config; its ``model_wrapper_cfg`` is completed.
        launcher: "none", "pytorch" or "slurm".

    Raises:
        UserError: The launcher's environment is missing, or it needs GPUs.
    """
    cfg.launcher = launcher
    if launcher == "none":
        return
    if launcher == "pytorch" and "LOCAL_RANK" not in os.environ:
        raise UserError("--launcher pytorch goes with python -m torch.distributed.run, which starts the processes")
    if launcher == "slurm" and "SLURM_PROCID" not in os.environ:
        raise UserError("--launcher slurm goes with srun, which starts the processes")
    # An objective may leave a part of the network out; buffers are the same everywhere.
    wrapper = dict(type="MMDistributedDataParallel", find_unused_parameters=True, broadcast_buffers=False)
    if not torch.cuda.is_available():
        if launcher == "slurm":
            raise UserError(
                "--launcher slurm needs GPUs; without, use python -m torch.distributed.run and --launcher pytorch"
            )
        wrapper["device_ids"] = None
        # MMEngine would ask for a GPU.
        if not is_distributed():
            torch.distributed.init_process_group("gloo")
    cfg.model_wrapper_cfg = {**wrapper, **(cfg.get("model_wrapper_cfg") or {})}


def unwrapped(model: nn.Module) -> nn.Module:
    """The model itself, where a wrapper for several processes is around it."""
    return model.module if is_model_wrapper(model) else model


def shared_out(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """``function`` of every item, in order; each process computes its share, and all get all of them.

    The first process takes the first item, the second one the second, and so on, step after step: no process holds more
    than a step's results. An error of one process is raised in all.

    Args:
        function: What to do with an item; its result is sent to the others.
        items: The items, the same in every process.
    """
    rank, processes = get_rank(), get_world_size()
    for begin in range(0, len(items), processes):
        own = error = None
        if begin + rank < len(items):
            try:
                own = function(items[begin + rank])
            except UserError as found:
                error = found
        if processes == 1:
            if error is not None:
                raise error
            yield own
            continue
        results = all_gather_object((own, None if error is None else str(error)))
        for _, message in results:
            if message is not None:
                raise UserError(message)
        yield from (result for result, _ in results[: len(items) - begin])


def of_first(make: Callable[[], Result]) -> Result:
    """What ``make`` gives in the first process, which sends it to the others; there it is not called."""
    if get_world_size() == 1:
        return make()
    made = [None, None]
    if get_rank() == 0:
        try:
            made[0] = make()
        except UserError as error:
            made[1] = str(error)
    broadcast_object_list(made)
    if made[1] is not None:
        raise UserError(made[1])
    return made[0]


def own_part(values: Sequence[Item]) -> Sequence[Item]:
    """This process's part of values that are shared out in stretches of one length."""
    length = len(values) // get_world_size()
    return values[get_rank() * length : (get_rank() + 1) * length]

"""Shares work among processes, of which the second fails at the end: ``shared_work.py FOLDER``, started by a launcher."""

import json
import sys
from pathlib import Path

import torch
from mmengine.dist import get_rank

from mmsf.cli import run
from mmsf.engine.processes import of_first, own_part, shared_out
from mmsf.errors import UserError


def square_by(number: int) -> tuple[int, int]:
    return number**2, get_rank()


def fail(number: int) -> None:
    if number == 3:
        raise UserError("three is too much")


def main() -> None:
    torch.distributed.init_process_group("gloo")
    told = dict(squares=list(shared_out(square_by, range(5))), first=of_first(get_rank), part=list(own_part(range(6))))
    Path(sys.argv[1], f"{get_rank()}.json").write_text(json.dumps(told))
    list(shared_out(fail, range(6)))


if __name__ == "__main__":
    run(main)

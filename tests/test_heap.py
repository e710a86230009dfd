"""Freed memory stays with the process: the kernel is not asked for the same tensor's pages again and again."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource
import torch
from mmsf.cli import run

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def main():
    before = faults()
    x = torch.ones(10_000_000)  # 40 MB, more than glibc keeps by itself
    once = faults() - before
    before = faults()
    for _ in range(20):
        x * 2
    print((faults() - before) / once)

{call}
"""


@pytest.mark.parametrize(("call", "kept"), [("run(main)", True), ("main()", False)], ids=["in a command", "as PyTorch does"])
def test_a_tensor_takes_the_pages_of_the_one_before_it(call, kept):
    ran = subprocess.run([sys.executable, "-c", PROGRAM.format(call=call)], capture_output=True, text=True, check=True)
    taken = float(ran.stdout)  # in tensors of this size; small ones in between may break up the heap a few times
    assert taken < 10 if kept else taken > 15

"""Freed memory stays with the process: no page of a large tensor is asked for twice."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource
import torch
from mmsf.cli import run

torch.set_num_threads(1)
x = torch.ones(3000, 10000)  # 120 MB, more than glibc keeps by itself

def main():
    x * 2
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(3):
        x * 2
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

{call}
"""


@pytest.mark.parametrize(
    ("call", "few"), [("run(main)", True), ("main()", False)], ids=["under a command", "as PyTorch does"]
)
def test_a_large_tensor_takes_pages_anew_unless_a_command_keeps_them(call, few):
    ran = subprocess.run([sys.executable, "-c", PROGRAM.format(call=call)], capture_output=True, text=True, check=True)
    assert (int(ran.stdout) < 100) == few

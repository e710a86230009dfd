"""The scripts that start several processes: what they would run, and that torch's launcher takes it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture
def ran(tmp_path):
    """Run a script where ``python`` and ``srun`` only print their arguments, one a line; give these."""
    for name in ("python", "srun"):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\nprintf "%s\\n" {name} "$@"\n')
        program.chmod(0o755)

    def call(script: str, *arguments: str, **variables: str) -> list[str]:
        names = {"NNODES", "NODE_RANK", "PORT", "MASTER_ADDR", "GPUS", "GPUS_PER_NODE", "CPUS_PER_TASK", "SRUN_ARGS"}
        own = {key: value for key, value in os.environ.items() if key not in names}
        environment = {**own, **variables, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        result = subprocess.run([TOOLS / script, *arguments], env=environment, capture_output=True, text=True, check=True)
        return result.stdout.splitlines()

    return call


def test_dist_ptq_starts_a_process_for_each_gpu_of_this_machine(ran):
    assert ran("dist_ptq.sh", "c.py", "8", "--work-dir", "my runs", "--resume") == [
        *("python", "-m", "torch.distributed.run"),
        *("--nnodes=1", "--node_rank=0", "--master_addr=127.0.0.1", "--master_port=29500", "--nproc_per_node=8"),
        *(f"{TOOLS}/ptq.py", "c.py", "--launcher", "pytorch", "--work-dir", "my runs", "--resume"),
    ]


def test_dist_ptq_takes_several_machines_from_the_environment(ran):
    command = ran("dist_ptq.sh", "c.py", "4", NNODES="2", NODE_RANK="1", MASTER_ADDR="10.1.1.1", PORT="29501")
    assert command[3:8] == [
        "--nnodes=2",
        "--node_rank=1",
        "--master_addr=10.1.1.1",
        "--master_port=29501",
        "--nproc_per_node=4",
    ]


def test_slurm_ptq_asks_slurm_for_the_processes(ran):
    command = ran("slurm_ptq.sh", "gpu", "job", "c.py", "out", "--resume", GPUS="16", SRUN_ARGS="--time=60 --quiet")
    assert command == [
        *("srun", "-p", "gpu", "--job-name=job", "--gres=gpu:8", "--ntasks=16", "--ntasks-per-node=8", "--cpus-per-task=5"),
        *("--kill-on-bad-exit=1", "--time=60", "--quiet"),
        *("python", "-u", f"{TOOLS}/ptq.py", "c.py", "--work-dir", "out", "--launcher", "slurm", "--resume"),
    ]


@pytest.mark.parametrize(("script", "count"), [("dist_ptq.sh", 1), ("slurm_ptq.sh", 3)])
def test_too_few_arguments_are_told_with_the_usage(script, count):
    result = subprocess.run([TOOLS / script, *["x"] * count], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith("usage: ")


@pytest.mark.slow
def test_torch_starts_the_tool_as_often_as_asked():
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = [TOOLS / "dist_ptq.sh", "c.py", "2", "--help"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("usage: ptq.py") == 2

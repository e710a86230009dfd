"""The rules on imports hold, and a breach of them is found."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def checked(tool: list[str], folder: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, *tool]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)


LINT_IMPORTS = ["-c", "from importlinter.cli import lint_imports_command as main; main()", "--no-cache"]
RUFF = ["-m", "ruff", "check", "--select", "TID251", "."]


@pytest.fixture
def project(tmp_path):
    """A copy of the package that a test may spoil."""
    shutil.copytree(ROOT / "mmsf", tmp_path / "mmsf", ignore=shutil.ignore_patterns("__pycache__", "*.pth", ".mim"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("package", "line"),
    [
        ("lanes", "import torch"),
        ("lanes", "import mmsf.registry"),
        ("quantization", "import mmengine"),
        ("quantization", "from mmsf import lanes"),
        ("adapters", "from mmsf import quantization"),
        ("reconstruction", "from mmsf import engine"),
        ("sensitivity", "from mmsf import reconstruction"),
        ("models", "from mmsf import adapters"),
        ("datasets", "from mmsf import evaluation"),
        ("evaluation", "from mmsf import engine"),
        ("visualization", "import torch"),
        ("engine", "from mmsf import deploy"),
        ("engine", "from mmsf import benchmark"),
    ],
)
def test_an_import_against_the_direction_is_found(project, package, line):
    module = project / "mmsf" / package / "breach.py"
    module.write_text(f"{line}\n")
    result = checked(LINT_IMPORTS, project)
    assert result.returncode == 1
    assert f"mmsf.{package}.breach" in result.stdout


@pytest.mark.parametrize("package", ["mmcv.ops", "mmdet.models", "mmdet.datasets", "mmdet.engine", "mmdet.visualization"])
def test_an_import_that_needs_compiled_operators_is_found(project, package):
    (project / "mmsf" / "breach.py").write_text(f"import {package}\n")
    result = checked(RUFF, project)
    assert result.returncode == 1
    assert f"`{package}` is banned" in result.stdout

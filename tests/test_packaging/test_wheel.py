"""What an installation of mmsf holds."""

import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import mmsf

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of the project, built from a copy so that nothing is left behind."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT / "mmsf", source / "mmsf", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--wheel-dir",
        target,
        source,
    ]
    subprocess.run([sys.executable, *command], check=True, stdin=subprocess.DEVNULL)
    (path,) = target.iterdir()
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_the_wheel_holds_every_module_and_all_data(wheel):
    wanted = [path for pattern in ("*.py", "*.pth", "*.css", "*.txt") for path in (ROOT / "mmsf").rglob(pattern)]
    assert len(wanted) > 10
    missing = {path.relative_to(ROOT).as_posix() for path in wanted} - set(wheel.namelist())
    assert missing == set()


def test_the_wheel_tells_version_licence_and_stacks(wheel):
    (name,) = [name for name in wheel.namelist() if name.endswith("METADATA")]
    metadata = Parser().parsestr(wheel.read(name).decode())
    assert metadata["Version"] == mmsf.__version__
    assert set(metadata.get_all("Provides-Extra")) == {"onedl", "openmmlab", "deploy", "tensorboard", "dev"}
    assert any(name.endswith("LICENSE") for name in wheel.namelist())

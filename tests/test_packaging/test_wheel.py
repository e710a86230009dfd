"""What an installation of mmsf holds, and that it works away from the checkout."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from test_engine.runs import OPTIONS

import mmsf

ROOT = Path(__file__).parents[2]


def pip(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "pip", "--quiet", *map(str, arguments)], check=True, stdin=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def wheel_file(tmp_path_factory) -> Path:
    """The wheel, made of the source distribution; both are built from a copy so that nothing is left behind."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("mmsf", "configs", "tools"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "LICENSE", "README.md", "model-index.yml"):
        shutil.copy(ROOT / name, source)
    build = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, target], cwd=source, check=True, stdin=subprocess.DEVNULL)
    (sources,) = target.iterdir()
    pip("wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", target, sources)
    (path,) = target.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def wheel(wheel_file):
    with zipfile.ZipFile(wheel_file) as archive:
        yield archive


def test_the_wheel_holds_every_module_and_all_data(wheel):
    wanted = [path for pattern in ("*.py", "*.pth", "*.css", "*.txt") for path in (ROOT / "mmsf").rglob(pattern)]
    assert len(wanted) > 10
    missing = {path.relative_to(ROOT).as_posix() for path in wanted} - set(wheel.namelist())
    assert missing == set()


def test_the_wheel_holds_every_config_and_tool(wheel):
    wanted = ["model-index.yml"]
    for folder in ("configs", "tools"):
        paths = [path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        assert len(paths) > 10
        wanted += [path.relative_to(ROOT).as_posix() for path in paths]
    held = {name.removeprefix("mmsf/.mim/") for name in wheel.namelist() if name.startswith("mmsf/.mim/")}
    assert held == set(wanted)


def test_the_wheel_tells_version_licence_and_stacks(wheel):
    (name,) = [name for name in wheel.namelist() if name.endswith("METADATA")]
    metadata = Parser().parsestr(wheel.read(name).decode())
    assert metadata["Version"] == mmsf.__version__
    assert set(metadata.get_all("Provides-Extra")) == {"onedl", "openmmlab", "deploy", "tensorboard", "dev"}
    assert any(name.endswith("LICENSE") for name in wheel.namelist())


@pytest.fixture(scope="module")
def installed(wheel_file, tmp_path_factory) -> Path:
    """Python of an environment with `mmsf[onedl]` from the wheel; everything else it sees in this environment."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_path("purelib"))
    python = folder / "bin" / "python"
    pip("--python", python, "install", "--no-index", "--no-deps", "--ignore-installed", wheel_file)
    # Nothing is left to install: the stack that the wheel asks for is the one of this environment.
    pip("--python", python, "install", "--no-index", "mmsf[onedl]")
    return python


@pytest.mark.slow
def test_an_installed_wheel_quantizes_away_from_the_checkout(installed, tmp_path):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def python(*arguments: object, status: int = 0) -> subprocess.CompletedProcess:
        command = [installed, *map(str, arguments)]
        result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert result.returncode == status, result.stderr
        return result

    weights = "mmsf.get_config('lstr/lstr_tiny_synthetic', pretrained=True).model_path"
    package, checkpoint = python("-c", f"import mmsf; print(mmsf.__path__[0]); print({weights})").stdout.split()
    assert Path(package).is_relative_to(installed.parents[1])
    assert Path(checkpoint).is_relative_to(package)
    tools = Path(package) / ".mim" / "tools"

    for name, frames, seed in (("train", 10, 1), ("test", 6, 2)):
        python(tools / "make_synthetic.py", "--frames", frames, "--seed", seed, "--out", name)
    (tmp_path / "mine.py").write_text('_base_ = "mmsf::ptq/lstr_tiny_synthetic_w8a8_selective-focus.py"\n')
    data = ["--data-root", "test", "--calibration-root", "train", "--work-dir", "run"]
    python(tools / "ptq.py", "mine.py", "--checkpoint", checkpoint, *data, "--cfg-options", *OPTIONS)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["frames"] == {"calibration": 10, "evaluation": 6}
    assert summary["quantized"]["CULane/F1"] > 0.8

    (tmp_path / "float.py").write_text('_base_ = "mmsf::lstr/lstr_tiny_synthetic.py"\n')
    unknown = python(tools / "ptq.py", "float.py", "--preset", "none", "--bits", "w8a8", status=2)
    assert "selective-focus_w8a8" in unknown.stderr

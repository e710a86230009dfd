"""mmsf on top of its stack: the same without mmcv's compiled operators, on both stacks."""

import subprocess
import sys

import pytest

# Imports every module of mmsf while `mmcv._ext`, the compiled operators, cannot be imported.
WITHOUT_OPERATORS = """
import importlib, pkgutil, sys
sys.modules["mmcv._ext"] = None
import mmsf
for module in pkgutil.walk_packages(mmsf.__path__, "mmsf."):
    importlib.import_module(module.name)
barred = {"mmcv.ops", "mmdet.models", "mmdet.datasets", "mmdet.engine", "mmdet.visualization"} & set(sys.modules)
assert not barred, f"mmsf imports {sorted(barred)}"
"""


@pytest.mark.smoke
def test_every_module_imports_without_compiled_operators():
    result = subprocess.run([sys.executable, "-c", WITHOUT_OPERATORS], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr

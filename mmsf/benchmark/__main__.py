"""The process of one cell: ``python -m mmsf.benchmark FOLDER``, with ``cell.json`` in the folder."""

import json
import sys
from pathlib import Path

from mmengine.dist import is_main_process

import mmsf  # noqa: F401  a child config's custom_imports may have replaced the one that names mmsf
from mmsf.benchmark.cell import STATE, write_state
from mmsf.cli import run
from mmsf.engine.ptq import quantize


def main() -> None:
    folder = Path(sys.argv[1])
    state = json.loads((folder / STATE).read_text())
    arguments = state["arguments"]
    quantize(**{**arguments, "presets": Path(arguments["presets"])})
    if not is_main_process():
        return
    # Checkpoints to resume from are of no use any more, and large.
    for path in folder.glob("*.pth"):
        if path.name != "quantized.pth":
            path.unlink()
    (folder / "last_checkpoint").unlink(missing_ok=True)
    write_state(folder, {**state, "finished": True})


if __name__ == "__main__":
    run(main)

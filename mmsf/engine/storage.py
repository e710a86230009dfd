"""Checkpoints that are whole or absent, and the newest one that can be read."""

import hashlib
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend
from mmengine.logging import print_log

from mmsf import safe_globals
from mmsf.errors import UserError
from mmsf.files import whole_or_absent

# The Runner reads checkpoints with torch's defaults.
safe_globals.allow()


@register_backend("mmsf.whole_or_absent")
class WholeOrAbsentBackend(LocalBackend):
    """The local file system, except that a file is renamed to its name when it is complete.

    For ``CheckpointHook(backend_args=dict(backend='mmsf.whole_or_absent'))``.
    """

    def put(self, obj, filepath) -> None:
        """Write bytes to ``filepath``, whole or not at all."""
        with whole_or_absent(filepath) as temporary:
            temporary.write_bytes(obj)

    def put_text(self, obj: str, filepath, encoding: str = "utf-8") -> None:
        """Write text to ``filepath``, whole or not at all."""
        with whole_or_absent(filepath) as temporary:
            temporary.write_text(obj, encoding)


WHOLE_OR_ABSENT = dict(backend="mmsf.whole_or_absent")


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def newest_checkpoint(work_dir: str | Path) -> Path | None:
    """The newest checkpoint of a run that can be read; one that cannot is reported and passed over.

    Args:
        work_dir: Folder of the run.

    Returns:
        Its path, or None where there is none.
    """
    candidates = sorted(Path(work_dir).glob("*.pth"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for path in candidates:
        try:
            content = safe_globals.load(path)
        except UserError as error:
            print_log(f"{error}; going back to the one before", "current", 30)
            continue
        if isinstance(content, dict) and "ptq" in content:
            return path
    return None

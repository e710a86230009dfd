"""Outputs that are whole or absent."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# os.umask() can only be read by setting it, so it is read once, before any thread is started.
_UMASK = os.umask(0)
os.umask(_UMASK)


@contextmanager
def whole_or_absent(path: str | Path) -> Iterator[Path]:
    """Give a temporary name beside ``path`` to write to; rename it to ``path`` when the block ends without an error.

    Args:
        path: Where the file shall stand. Missing folders are made.

    Yields:
        The temporary path, with the same ending as ``path``.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        os.chmod(temporary, 0o666 & ~_UMASK)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)

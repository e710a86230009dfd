"""Outputs that are whole or absent."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmsf.errors import UserError

# The disk, the quota or the largest size of a file is used up.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

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

    Raises:
        UserError: There is no room for the file, or the folder may not be written to.
    """
    path = Path(path)
    try:
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
    except OSError as error:
        if error.errno not in (*NO_ROOM, errno.EACCES, errno.EROFS):
            raise
        raise UserError(f"{path} cannot be written: {error.strerror}; free space or choose another folder") from error

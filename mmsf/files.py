"""Outputs that are whole or absent, and places that are tried before the work."""

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
        UserError: The file cannot be made, written or put in its place.
    """
    path = Path(path)
    with _refused(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # No part of the name: a name may be as long as the file system takes.
        handle, name = tempfile.mkstemp(prefix=".", suffix=path.suffix, dir=path.parent)
        os.close(handle)
    temporary = Path(name)
    try:
        try:
            yield temporary
        except OSError as error:
            if error.filename not in (None, name):  # of another file, such as one that is read
                raise
            raise _cannot_write(path, error) from error
        with _refused(path):
            os.chmod(temporary, 0o666 & ~_UMASK)
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def require_folder(folder: str | Path) -> None:
    """Make a folder and see that files can be made in it, before anything long is run.

    Raises:
        UserError: It cannot be made, or not be written to.
    """
    with _refused(folder):
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass


def require_place(path: str | Path) -> None:
    """See that a file can be made, before anything long is run; its folder is made.

    Raises:
        UserError: It cannot.
    """
    require_folder(Path(path).parent)
    with _refused(path):
        if Path(path).is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))


@contextmanager
def _refused(path: str | Path) -> Iterator[None]:
    """Tell what the system refuses as a `UserError` about ``path``."""
    try:
        yield
    except OSError as error:
        raise _cannot_write(path, error) from error


def _cannot_write(path: str | Path, error: OSError) -> UserError:
    advice = "free space or choose another folder" if error.errno in NO_ROOM else "choose another place"
    return UserError(f"{path} cannot be written: {error.strerror or error}; {advice}")

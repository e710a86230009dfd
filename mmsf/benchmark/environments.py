"""Virtual environments of their own for packages that mmsf does not need."""

import subprocess
import venv
from collections.abc import Callable, Sequence
from pathlib import Path

from mmsf.errors import UserError
from mmsf.files import whole_or_absent

_TOLD = ("Collecting ", "Downloading ", "Building wheel", "Installing collected packages", "Successfully installed")


def environment(folder: str | Path, requirements: Sequence[Sequence[str]], say: Callable[[str], None]) -> Path:
    """A virtual environment with packages in it, made unless it is there with the same ones.

    Args:
        folder: Where it stands.
        requirements: Arguments of ``pip install``, one row a call.
        say: Takes a line for the user.

    Returns:
        Its Python.

    Raises:
        UserError: It cannot be made, or pip failed; the message has pip's last error.
    """
    folder = Path(folder)
    python, stamp = folder / "bin" / "python", folder / "requirements.txt"
    wanted = "".join(" ".join(row) + "\n" for row in requirements)
    if python.exists() and stamp.is_file() and stamp.read_text() == wanted:
        return python
    say(f"making an environment in {folder}; pip's log is {folder / 'pip.log'}")
    stamp.unlink(missing_ok=True)
    try:
        venv.create(folder, clear=True, with_pip=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(f"no virtual environment can be made in {folder}: {error}") from error
    for row in requirements:
        _pip(python, row, folder / "pip.log", say)
    with whole_or_absent(stamp) as temporary:
        temporary.write_text(wanted)
    return python


def _pip(python: Path, arguments: Sequence[str], log: Path, say: Callable[[str], None]) -> None:
    command = [str(python), "-m", "pip", "install", "--progress-bar", "off", *arguments]
    lines = []
    with (
        open(log, "a") as file,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pip,
    ):
        for line in pip.stdout:
            file.write(line)
            if line.strip():
                lines.append(line.strip())
            if line.startswith(_TOLD):
                say(f"  {line.strip()[:110]}")
    if pip.returncode:
        errors = [line for line in lines if line.startswith("ERROR")] or lines or [f"exit status {pip.returncode}"]
        raise UserError(f"pip install {' '.join(arguments)} failed: {errors[-1]} (its log is {log})")


def run_script(command: Sequence[str], log: Path, say: Callable[[str], None], **options) -> str | None:
    """Run a command in an environment; all its output goes to a log, lines that begin with "> " to the user as well.

    Args:
        command: The command.
        log: The file, written anew.
        say: Takes a line for the user.
        **options: Of `subprocess.Popen`.

    Returns:
        None if it ended well, else its last line.
    """
    last = ""
    with (
        open(log, "w") as file,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
        ) as process,
    ):
        for line in process.stdout:
            file.write(line)
            file.flush()
            last = line.strip() or last
            if line.startswith("> "):
                say(f"  {line[2:].rstrip()}")
    return None if process.returncode == 0 else last or f"exit status {process.returncode}"

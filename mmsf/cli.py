"""What every command line shares: one clear line and exit status 2 for what a user can mend."""

import sys
from collections.abc import Callable

from mmsf.errors import UserError


def run(main: Callable[[], None]) -> None:
    """Call ``main``; turn a `UserError` into one line on standard error and exit status 2.

    Args:
        main: The command, without arguments.
    """
    try:
        main()
    except UserError as error:
        text = str(error)
        if text.startswith("Caught "):  # raised in a data loader's process: the message is the last line of its traceback
            text = text.rstrip().rpartition("\n")[2].partition(": ")[2]
        print(f"error: {' '.join(text.split())}", file=sys.stderr)
        sys.exit(2)

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
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)

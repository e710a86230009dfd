"""The one exception for what a user can put right."""

import difflib
import inspect
import math
from collections.abc import Callable, Iterable
from typing import TypeVar

Made = TypeVar("Made")


class UserError(ValueError):
    """A wrong argument, configuration or file that the user can mend.

    The message is one line that says what is wrong and how to mend it. The command lines print it without a traceback and
    end with exit status 2.
    """


def unknown(what: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a name that is not known; tells the nearest one that is.

    Args:
        what: What is named.
        name: Its name.
        known: The names there are.
    """
    known = sorted(known)
    near = difflib.get_close_matches(str(name), known, 1)
    return UserError(f"{what} {name!r} is unknown; {f'did you mean {near[0]!r}?' if near else 'known: ' + ', '.join(known)}")


def make(kind: Callable[..., Made], settings: dict, place: str) -> Made:
    """Call ``kind(**settings)``.

    Args:
        kind: What takes the settings by name.
        settings: As they stand in a config.
        place: Where in the config they stand, for the message.

    Raises:
        UserError: A setting is unknown, missing or of the wrong type.
    """
    known = inspect.signature(kind).parameters
    for key in settings:
        if key not in known:
            raise unknown(f"{place}: key", key, known)
    try:
        return kind(**settings)
    except UserError:
        raise
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise UserError(f"{place}: {error}") from error


def require_whole(owner: str, name: str, value: object, least: int) -> None:
    """See that a setting is a whole number.

    Args:
        owner: Class whose setting it is.
        name: The setting's.
        value: As it was given.
        least: The smallest that may be given.

    Raises:
        UserError: It is no whole number, or smaller.
    """
    if not (isinstance(value, int) and value >= least):
        raise UserError(f"{owner}: {name} must be a whole number of at least {least}; got {value!r}")


def require_number(owner: str, name: str, value: object, least: float, below: float = math.inf) -> None:
    """See that a setting is a finite number.

    Args:
        owner: Class whose setting it is.
        name: The setting's.
        value: As it was given.
        least: The smallest that may be given.
        below: What it must be smaller than.

    Raises:
        UserError: It is none, or outside these bounds.
    """
    if not (isinstance(value, int | float) and least <= value < below):
        bounds = f"at least {least}" + ("" if below == math.inf else f" and less than {below}")
        raise UserError(f"{owner}: {name} must be a number of {bounds}; got {value!r}")


def require_pair(owner: str, name: str, value: object) -> tuple[float, float]:
    """See that a setting is two finite numbers, and give them.

    Args:
        owner: Class whose setting it is.
        name: The setting's.
        value: As it was given.

    Raises:
        UserError: It is something else.
    """
    pair = tuple(value) if isinstance(value, list | tuple) else ()
    if len(pair) != 2 or not all(isinstance(one, int | float) and math.isfinite(one) for one in pair):
        raise UserError(f"{owner}: {name} must be two numbers; got {value!r}")
    return pair

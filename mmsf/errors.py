"""The one exception for what a user can put right."""


class UserError(ValueError):
    """A wrong argument, configuration or file that the user can mend.

    The message is one line that says what is wrong and how to mend it. The command lines print it without a traceback and
    end with exit status 2.
    """

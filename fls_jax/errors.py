"""The one exception that is shown to a user as a sentence instead of a traceback."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can put right: says what is wrong, with what value, and what to do.

    The command line prints it and exits with code 2.
    """

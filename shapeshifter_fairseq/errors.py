"""The one exception type that the package raises for a user's mistake, and how it is shown."""

import os


class ShapeshifterError(ValueError):
    """Something the user asked for cannot be done; the message is one line with the way out.

    It is a ``ValueError``, so Python callers treat it as usual. Under fairseq's commands the
    message alone is printed, without a traceback (see ``fairseq_side/one_line_errors.py``).
    """


def traceback_is_wanted() -> bool:
    """Whether the environment asks for a traceback as well (SHAPESHIFTER_DEBUG=1)."""
    return bool(os.environ.get("SHAPESHIFTER_DEBUG"))

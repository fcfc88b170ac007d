"""The one exception type that the package raises for a user's mistake."""


class ShapeshifterError(ValueError):
    """Something the user asked for cannot be done; the message is one line with the way out.

    It is a ``ValueError``, so Python callers treat it as usual. Under fairseq's commands the
    message alone is printed, without a traceback (see ``models/_errors.py``).
    """

"""The one exception that a user is meant to see: a single clear line, no traceback."""


class UserError(Exception):
    """A user's mistake: one line that names the key, file or image at fault and the remedy."""

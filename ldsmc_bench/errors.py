"""The exceptions that a user is meant to see: a single clear line, no traceback."""


class UserError(Exception):
    """A user's mistake: one line that names the key, file or image at fault and the remedy."""


class Unsupported(UserError):
    """What a method cannot do by its nature, such as a task without a pseudo-inverse: its images are skipped, with this
    line as the reason, and everything else goes on."""

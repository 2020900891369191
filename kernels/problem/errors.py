"""The two errors of the library: arguments that make no problem, and a problem that a named implementation cannot do."""


class ProblemError(ValueError):
    """The arguments make no problem; the message names the argument, the axis, the arithmetic and what would work."""


class RefusedError(ValueError):
    """The named implementation cannot do this problem; the message is the sentence it refuses with."""

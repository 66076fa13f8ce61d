"""What ends a run."""


class Wrong(Exception):
    """An answer, or the want of one, that makes every number worthless."""

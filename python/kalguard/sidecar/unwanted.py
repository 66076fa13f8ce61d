"""Keeps libraries from importing others that they would use if they found them, and that take time and memory.

Every start of a process is waited for. What is kept out changes nothing that the service does.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without(*names: str) -> Iterator[None]:
    """Meanwhile imports of these modules fail, as if they were not installed."""
    there = {name: sys.modules.get(name) for name in names}
    sys.modules.update(dict.fromkeys(names))  # type: ignore[arg-type]  # how Python is told that there is none
    try:
        yield
    finally:
        for name, module in there.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module

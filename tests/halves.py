"""Runs the tests in two halves at a time: those of `tests/sidecar`, which wait much, and the others, which compute.

`python -m tests.halves`. The second half's output is shown when the first has ended. Not done by a shell: what it
starts in the background ignores Ctrl-C, which some tests send.
"""

import subprocess
import sys
import tempfile

PYTEST = [sys.executable, "-m", "pytest"]


def main() -> int:
    """Run both; 0 if both passed."""
    with tempfile.TemporaryFile() as kept:
        others = subprocess.Popen([*PYTEST, "--ignore=tests/sidecar"], stdout=kept, stderr=subprocess.STDOUT)
        first = subprocess.run([*PYTEST, "tests/sidecar"], check=False).returncode
        second = others.wait()
        kept.seek(0)
        sys.stdout.write(kept.read().decode(errors="replace"))
    return first or second


if __name__ == "__main__":
    sys.exit(main())

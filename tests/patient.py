"""The service with all the time in the world for Redis and for locks. Run by the tests, in place of the command.

    python -m tests.patient

In each process of the service, since each imports this anew. For tests of what is counted: on a machine that is busy
enough any answer is late, and what becomes of late ones other tests tell.
"""

import sys

from kalguard import mapped
from kalguard.cli.entry import sidecar
from kalguard.counters import batches, redis
from kalguard.toolstore import workers

PATIENT = [sys.executable, "-m", "tests.patient"]
SECONDS = 30.0

if __name__ in ("__main__", "__mp_main__"):  # the main process, and what it starts
    mapped.LOCK_SECONDS = workers.LOCK_SECONDS = SECONDS
    vars(batches)["BUDGET_SECONDS"] = vars(redis)["BUDGET_SECONDS"] = SECONDS
if __name__ == "__main__":
    sidecar()

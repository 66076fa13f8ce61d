"""A server in which an audit sink fails in a way that nobody foresaw. Run by the tests, as a process of its own."""

import logging.config
import multiprocessing
import os

from granian import Granian
from granian.constants import Interfaces
from litestar import Litestar

from kalguard import config
from kalguard.records.sinks import MemorySink
from kalguard.sidecar.app import build
from kalguard.sidecar.logs import log_config
from kalguard.sidecar.metrics import Metrics


class FaultySink(MemorySink):
    async def write(self, record: bytes, *, sign: bool = False) -> None:
        raise RuntimeError("secret detail")


def create() -> Litestar:
    return build(config.load(os.environ).settings, metrics=Metrics(), sink=FaultySink())


if __name__ == "__main__":
    settings = config.load(os.environ).settings
    logging.config.dictConfig(log_config("info", "json"))
    multiprocessing.set_start_method("spawn")
    Granian(
        "tests.sidecar.faulty_server:create",
        factory=True,
        address=settings.host,
        port=settings.port,
        interface=Interfaces.ASGI,
        log_dictconfig=log_config("info", "json"),
    ).serve()

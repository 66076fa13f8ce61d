"""Asks a server again and again, while something happens to its processes."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from tests.support import Server


def get(server: Server) -> httpx.Response:
    try:
        return httpx.get(f"{server.url}/health", verify=False)
    except httpx.TransportError as error:
        if not was_closed(error):
            raise
        return httpx.get(f"{server.url}/health", verify=False)


def was_closed(error: httpx.TransportError) -> bool:
    """Whether a connection was made and then closed: before the answer, or before TLS was agreed upon."""
    return isinstance(error, httpx.RemoteProtocolError) or "EOF occurred" in str(error)


@contextmanager
def asking(server: Server) -> Iterator[list[str]]:
    """Ask again and again meanwhile; what went wrong twice in a row, or was refused.

    A worker that ends closes the connections on which nothing was asked yet: whoever just then does asks again.
    """
    wrong: list[str] = []
    done = threading.Event()

    def ask() -> None:
        while not done.wait(0.02):
            try:
                reply = get(server)
            except httpx.TransportError as error:
                wrong.append(repr(error))
            else:
                if reply.status_code != 200:
                    wrong.append(reply.text)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield wrong
    finally:
        done.set()
        thread.join()

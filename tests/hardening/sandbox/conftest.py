"""The service with the example policy and tools, for the document."""

from tests.sdk.conftest import example_server

__all__ = ["example_server"]

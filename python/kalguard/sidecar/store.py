"""The store that replicas share, where `KALGUARD_REDIS_URL` says. Imported only where it is set."""

import os
import secrets

from kalguard.counters.redis import RedisStore
from kalguard.errors import ConfigError
from kalguard.sidecar.instance import INSTANCE


def shared_store(url: str) -> RedisStore:
    """The store that replicas share, not yet connected to. Raises `ConfigError` naming the variable."""
    try:
        return RedisStore(url, instance=os.environ.get(INSTANCE) or secrets.token_hex(8))
    except ConfigError as error:
        raise ConfigError([f"KALGUARD_REDIS_URL: the value given {error}"]) from None

"""The store that replicas share, as the settings want it."""

import os
import secrets

from kalguard.config import Settings
from kalguard.counters.redis import RedisStore
from kalguard.errors import ConfigError
from kalguard.sidecar.instance import INSTANCE


def shared_store(settings: Settings) -> RedisStore | None:
    """The store that replicas share, not yet connected to. Raises `ConfigError` naming the variable."""
    if settings.redis_url is None:
        return None
    try:
        return RedisStore(settings.redis_url, instance=os.environ.get(INSTANCE) or secrets.token_hex(8))
    except ConfigError as error:
        raise ConfigError([f"KALGUARD_REDIS_URL: the value given {error}"]) from None

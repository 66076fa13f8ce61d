"""The keys that agent tokens are verified with, as the settings want them."""

from pathlib import Path

from kalguard.config import Settings
from kalguard.decision.identity import ClosedKeyring, JwksKeyring, Keyring, SecretKeyring, UnverifiedKeyring
from kalguard.errors import ConfigError


def keyring_for(settings: Settings) -> Keyring:
    """The keys that tokens are verified with. Raises `ConfigError` naming the variable."""
    if settings.token_secret is not None:
        try:
            return SecretKeyring(settings.token_secret)
        except ConfigError as error:
            raise ConfigError([f"KALGUARD_TOKEN_SECRET: the value given {error}"]) from None
    if settings.token_jwks_path is not None:
        variable = "KALGUARD_TOKEN_JWKS_PATH"
        try:
            return JwksKeyring(Path(settings.token_jwks_path).read_bytes())
        except OSError as error:
            raise ConfigError([f"{variable}: `{settings.token_jwks_path}` cannot be read: {error.strerror}"]) from None
        except ConfigError as error:
            raise ConfigError([f"{variable}: `{settings.token_jwks_path}` {error}"]) from None
    return UnverifiedKeyring() if settings.insecure_unsigned_tokens else ClosedKeyring()

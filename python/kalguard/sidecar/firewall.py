"""The prompt firewall that the settings ask for."""

from pathlib import Path

from kalguard.config import Settings
from kalguard.decision.firewall import FirewallOptions, PromptFirewall
from kalguard.errors import ConfigError, PatternError


def firewall_options(settings: Settings) -> FirewallOptions:
    """What the settings say about it, the patterns file aside."""
    return FirewallOptions(
        block_threshold=settings.prompt_block_threshold,
        sanitize_threshold=settings.prompt_sanitize_threshold,
        injection_weight=settings.risk_weight_injection,
        harmful_weight=settings.risk_weight_harmful,
        pii_weight=settings.risk_weight_pii,
        abnormality_weight=settings.risk_weight_abnormality,
        check_injection=not settings.disable_injection_check,
        check_content=not settings.disable_content_check,
        check_pii=not settings.disable_pii_check,
        check_system=settings.check_system_messages,
        blocked_phrases=settings.blocked_phrases,
        monitor=settings.firewall_mode == "monitor",
    )


def firewall_now(settings: Settings) -> PromptFirewall:
    """The firewall as it would be at this moment, patterns file included. Raises `ConfigError` naming the variable."""
    path = settings.patterns_path
    if path is None:
        return plain_firewall(settings)
    try:
        return PromptFirewall(firewall_options(settings), Path(path).read_bytes())
    except OSError as error:
        raise ConfigError([f"KALGUARD_PATTERNS_PATH: `{path}` cannot be read: {error.strerror}"]) from None
    except PatternError as error:
        raise ConfigError([f"KALGUARD_PATTERNS_PATH: `{path}` {error}"]) from None


def plain_firewall(settings: Settings) -> PromptFirewall:
    """The firewall without a patterns file. Raises `ConfigError` naming the variable."""
    try:
        return PromptFirewall(firewall_options(settings))
    except PatternError as error:
        raise ConfigError([f"KALGUARD_BLOCKED_PHRASES: {error}"]) from None

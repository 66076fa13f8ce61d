"""`KALGUARD_*` -> `Settings`: read once, all mistakes reported together.

`VARIABLES` is the one list of what there is; the README's table, `kalguard config` and the tests come from it. An
empty variable is an unset one. A variable marked secret may also be given as `<NAME>_FILE`, the path of a file that
holds it, and is never printed. What Kubernetes injects for a Service named `kalguard` is recognised and ignored.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from kalguard.errors import ConfigError

MIN_SECRET_BYTES = 32


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What is in force. `None` means that the variable is unset and has no default. Field `x` is `KALGUARD_X`."""

    host: str
    port: int
    metrics_port: int
    workers: int
    log_level: str
    log_format: str
    tls_cert_path: str | None
    tls_key_path: str | None
    drain_seconds: int
    idle_seconds: int
    max_concurrent_checks: int
    max_buffered_bytes: int
    harden: bool
    token_secret: str | None
    token_jwks_path: str | None
    token_leeway_s: int
    insecure_unsigned_tokens: bool
    revoked_tokens_path: str | None
    policy_path: str | None
    policy_default_deny: bool
    policy_shadow_path: str | None
    policy_watch: bool
    policy_watch_interval_ms: int
    tools_path: str | None
    tool_rate_limit: int | None
    patterns_path: str | None
    firewall_mode: str
    prompt_block_threshold: int
    prompt_sanitize_threshold: int
    risk_weight_injection: float
    risk_weight_harmful: float
    risk_weight_pii: float
    risk_weight_abnormality: float
    blocked_phrases: tuple[str, ...]
    disable_pii_check: bool
    disable_injection_check: bool
    disable_content_check: bool
    check_system_messages: bool
    audit_log_path: str | None
    audit_fsync: str
    audit_format: str
    audit_key_path: str | None
    api_key: str | None
    cloud_url: str
    cloud_sync_interval_ms: int
    cloud_key_overlap_s: int
    state_dir: str | None
    redis_url: str | None
    limits_on_store_loss: str


class Loaded(NamedTuple):
    """The settings, and what an operator should be told about the environment they came from."""

    settings: Settings
    warnings: list[str]


class Variable(NamedTuple):
    """One variable: `default` as text (`None`: unset), `read` turns text into a value or raises `ValueError`."""

    name: str
    default: str | None
    expected: str
    read: Callable[[str], Any]
    description: str
    secret: bool = False

    @property
    def field(self) -> str:
        """The field of `Settings` that it fills."""
        return self.name.removeprefix("KALGUARD_").lower()


def _text(value: str) -> str:
    return value


def _boolean(value: str) -> bool:
    return {"true": True, "false": False}[value]


def _whole(low: int, high: int) -> Callable[[str], int]:
    def read(value: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", value) or not low <= int(value) <= high:
            raise ValueError
        return int(value)

    return read


def _weight(value: str) -> float:
    if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,6})?", value) or float(value) > 10:
        raise ValueError
    return float(value)


def _one_of(*allowed: str) -> Callable[[str], str]:
    def read(value: str) -> str:
        if value not in allowed:
            raise ValueError
        return value

    return read


def _host(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9.:_-]{1,253}", value):
        raise ValueError
    return value


def _secret(value: str) -> str:
    if len(value.encode()) < MIN_SECRET_BYTES:
        raise ValueError
    return value


def _api_key(value: str) -> str:
    if not re.fullmatch(r"kg_(live|test)_[A-Za-z0-9_-]{1,200}", value):
        raise ValueError
    return value


def _url(*schemes: str) -> Callable[[str], str]:
    def read(value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in schemes or not (parts.netloc or parts.path.strip("/")):
            raise ValueError
        return value

    return read


def _cloud_url(value: str) -> str:
    """A URL to which paths can be added. It is shown, so there must be no password in it."""
    parts = urlsplit(_url("http", "https")(value))
    is_plain = parts.username is None and not parts.query and not parts.fragment
    if not parts.hostname or parts.port == 0 or not is_plain or " " in value or not value.isprintable():
        raise ValueError
    return value


def _phrases(value: str) -> tuple[str, ...]:
    return tuple(phrase for part in value.split(",") if (phrase := part.strip()))


_PORT = ("a port from 1 to 65535", _whole(1, 65535))
_SCORE = ("a whole number from 0 to 100", _whole(0, 100))
_FLAG = ("true or false", _boolean)
_PATH = ("a path", _text)
_FACTOR = ("a number from 0 to 10", _weight)

VARIABLES: tuple[Variable, ...] = (
    Variable("KALGUARD_HOST", "0.0.0.0", "an address or host name", _host, "Address to listen on"),
    Variable("KALGUARD_PORT", "9292", *_PORT, "Port of the API"),
    Variable("KALGUARD_METRICS_PORT", "9293", *_PORT, "Port of the Prometheus metrics, on the same address"),
    Variable("KALGUARD_WORKERS", "1", "a whole number from 1 to 64", _whole(1, 64), "Worker processes"),
    Variable(
        "KALGUARD_LOG_LEVEL",
        "info",
        "debug, info, warning or error",
        _one_of("debug", "info", "warning", "error"),
        "What the service log (standard error) holds",
    ),
    Variable("KALGUARD_LOG_FORMAT", "json", "json or console", _one_of("json", "console"), "Shape of the service log"),
    Variable("KALGUARD_TLS_CERT_PATH", None, *_PATH, "Certificate chain, PEM; with it the API speaks only TLS"),
    Variable("KALGUARD_TLS_KEY_PATH", None, *_PATH, "Private key of the certificate, PEM, PKCS#8"),
    Variable(
        "KALGUARD_DRAIN_SECONDS",
        "10",
        "a whole number from 0 to 3600",
        _whole(0, 3600),
        "Longest time in seconds from SIGTERM to the end of the workers; the process may take one more, below 2 two",
    ),
    Variable(
        "KALGUARD_IDLE_SECONDS",
        "75",
        "a whole number from 1 to 3600",
        _whole(1, 3600),
        "Longest time in seconds that a connection waits between requests or takes for the head of one",
    ),
    Variable(
        "KALGUARD_MAX_CONCURRENT_CHECKS",
        "512",
        "a whole number from 1 to 100000",
        _whole(1, 100_000),
        "Checks that a worker process works on at once; what is beyond is refused with 503",
    ),
    Variable(
        "KALGUARD_MAX_BUFFERED_BYTES",
        "67108864",
        "a whole number from 5242880 to 999999999",
        _whole(5_242_880, 999_999_999),
        "Bytes of large bodies that a worker process holds at once; what is beyond is refused with 503",
    ),
    Variable(
        "KALGUARD_HARDEN",
        "false",
        *_FLAG,
        "Take from the processes the system calls, files and ports that they do not need, as far as the kernel can",
    ),
    Variable(
        "KALGUARD_TOKEN_SECRET",
        None,
        f"at least {MIN_SECRET_BYTES} bytes",
        _secret,
        "Secret that agent tokens are signed with (HS256)",
        secret=True,
    ),
    Variable(
        "KALGUARD_TOKEN_JWKS_PATH", None, *_PATH, "JSON Web Key Set that tokens are verified with, instead of a secret"
    ),
    Variable(
        "KALGUARD_TOKEN_LEEWAY_S",
        "0",
        "a whole number from 0 to 300",
        _whole(0, 300),
        "Clock skew in seconds that is forgiven in tokens",
    ),
    Variable(
        "KALGUARD_INSECURE_UNSIGNED_TOKENS",
        "false",
        *_FLAG,
        "Accept any token, whoever made it, where there is neither secret nor key set. For experiments only",
    ),
    Variable(
        "KALGUARD_REVOKED_TOKENS_PATH",
        None,
        *_PATH,
        "File of revoked tokens: the SHA-256 of one token a line, in hex; `#` starts a comment. Changes are taken up",
    ),
    Variable("KALGUARD_POLICY_PATH", None, *_PATH, "Policy document. Unset: deny everything"),
    Variable("KALGUARD_POLICY_DEFAULT_DENY", "true", *_FLAG, "What the policy says where there is no file"),
    Variable(
        "KALGUARD_POLICY_SHADOW_PATH",
        None,
        *_PATH,
        "Policy document that is asked beside the policy: what it would decide otherwise is recorded, and nothing else",
    ),
    Variable(
        "KALGUARD_POLICY_WATCH",
        "false",
        *_FLAG,
        "Take up changes of the policy, shadow policy, tools and patterns files",
    ),
    Variable(
        "KALGUARD_POLICY_WATCH_INTERVAL_MS",
        "500",
        "a whole number from 50 to 600000",
        _whole(50, 600_000),
        "How long in milliseconds a file must stay as it is before a change is taken up",
    ),
    Variable("KALGUARD_TOOLS_PATH", None, *_PATH, "Tools file. Unset: the policy alone says which tools exist"),
    Variable(
        "KALGUARD_TOOL_RATE_LIMIT",
        None,
        "a whole number from 1 to 1000000",
        _whole(1, 1_000_000),
        "Tool calls per agent per minute. Unset: no limit. Exact across workers, and across replicas with Redis",
    ),
    Variable(
        "KALGUARD_PATTERNS_PATH",
        None,
        *_PATH,
        "Patterns file: patterns of your own, what is only monitored, phrases that are let through",
    ),
    Variable(
        "KALGUARD_FIREWALL_MODE",
        "enforce",
        "enforce or monitor",
        _one_of("enforce", "monitor"),
        "With monitor the prompt firewall finds and records everything and lets every prompt pass as it is",
    ),
    Variable("KALGUARD_PROMPT_BLOCK_THRESHOLD", "70", *_SCORE, "Risk score from which a prompt is blocked"),
    Variable(
        "KALGUARD_PROMPT_SANITIZE_THRESHOLD",
        "50",
        *_SCORE,
        "Risk score from which injected text is cut out of a prompt",
    ),
    Variable("KALGUARD_RISK_WEIGHT_INJECTION", "1", *_FACTOR, "Weight of injection in the risk score"),
    Variable("KALGUARD_RISK_WEIGHT_HARMFUL", "1", *_FACTOR, "Weight of harmful content in the risk score"),
    Variable("KALGUARD_RISK_WEIGHT_PII", "1", *_FACTOR, "Weight of personal data in the risk score"),
    Variable("KALGUARD_RISK_WEIGHT_ABNORMALITY", "1", *_FACTOR, "Weight of abnormal shape in the risk score"),
    Variable(
        "KALGUARD_BLOCKED_PHRASES",
        "",
        "phrases with commas between them",
        _phrases,
        "Phrases that block a prompt, in any case, as whole words",
    ),
    Variable("KALGUARD_DISABLE_PII_CHECK", "false", *_FLAG, "Do not look for personal data and secrets"),
    Variable("KALGUARD_DISABLE_INJECTION_CHECK", "false", *_FLAG, "Do not look for injection"),
    Variable(
        "KALGUARD_DISABLE_CONTENT_CHECK", "false", *_FLAG, "Do not look for harmful content, blocked phrases included"
    ),
    Variable(
        "KALGUARD_CHECK_SYSTEM_MESSAGES",
        "false",
        *_FLAG,
        "Look at system messages like at any other, not only for personal data and secrets",
    ),
    Variable(
        "KALGUARD_AUDIT_LOG_PATH",
        None,
        "a path, or - for standard output",
        _text,
        "Audit log. Unset: the last 10,000 records, in memory",
    ),
    Variable(
        "KALGUARD_AUDIT_FSYNC",
        "off",
        "always, interval or off",
        _one_of("always", "interval", "off"),
        "When the audit file is forced to disk: before each reply (at the disk's pace), every second, or by the system",
    ),
    Variable(
        "KALGUARD_AUDIT_FORMAT",
        "native",
        "native or ocsf",
        _one_of("native", "ocsf"),
        "Shape of the audit records: our own, or events of the Open Cybersecurity Schema Framework",
    ),
    Variable(
        "KALGUARD_AUDIT_KEY_PATH",
        None,
        *_PATH,
        "Ed25519 private key, PEM, PKCS#8: every 1,000th audit record, one a minute and the last are signed with it",
    ),
    Variable(
        "KALGUARD_API_KEY",
        None,
        "a key that starts with kg_live_ or kg_test_",
        _api_key,
        "Key for KalGuard Cloud: plan, signing key and revocations come from there. Unset: local-only",
        secret=True,
    ),
    Variable(
        "KALGUARD_CLOUD_URL",
        "https://api.kalguard.dev",
        "an http or https URL",
        _cloud_url,
        "KalGuard Cloud",
    ),
    Variable(
        "KALGUARD_CLOUD_SYNC_INTERVAL_MS",
        "300000",
        "a whole number from 10000 to 600000",
        _whole(10_000, 600_000),
        "How often the licence is fetched from KalGuard Cloud",
    ),
    Variable(
        "KALGUARD_CLOUD_KEY_OVERLAP_S",
        "3600",
        "a whole number from 0 to 604800",
        _whole(0, 604_800),
        "How long in seconds tokens of the signing key before stay good when KalGuard Cloud names another",
    ),
    Variable(
        "KALGUARD_STATE_DIR",
        None,
        *_PATH,
        "Folder of this instance alone for licence, counts of the day and usage events. Unset: they end with it",
    ),
    Variable(
        "KALGUARD_REDIS_URL",
        None,
        "a redis, rediss or unix URL",
        _url("redis", "rediss", "unix"),
        "Redis or Valkey in which replicas count together. Unset: each instance counts for itself",
        secret=True,
    ),
    Variable(
        "KALGUARD_LIMITS_ON_STORE_LOSS",
        "local",
        "local or closed",
        _one_of("local", "closed"),
        "While Redis is lost: each instance allows its share of a limit, or what is under a limit is denied",
    ),
)

# Settings of other parts of KalGuard that may share the environment.
_OF_THE_SDK = frozenset({"KALGUARD_SIDECAR_URL", "KALGUARD_AGENT_TOKEN"})
_KUBERNETES = re.compile(r"KALGUARD_(SERVICE_.+|PORT_[0-9]+_.+)")
_KUBERNETES_PORT = re.compile(r"(tcp|udp|sctp)://")


def load(environ: Mapping[str, str]) -> Loaded:
    """Read the settings. Raises `ConfigError` with one line for each mistake, naming the variable."""
    given = {name: value for name, value in environ.items() if value != "" and not _is_kubernetes(name, value)}
    problems: list[str] = []
    values = {variable.field: _value_of(variable, given, problems) for variable in VARIABLES}
    if not problems:
        problems += _conflicts(values)
    if problems:
        raise ConfigError(problems)
    return Loaded(Settings(**values), _warnings(given, Settings(**values)))


def shown(settings: Settings) -> dict[str, Any]:
    """Variable -> value in force; secrets masked, the unset `None`."""
    values = {variable: getattr(settings, variable.field) for variable in VARIABLES}
    return {
        variable.name: "(set, not shown)" if variable.secret and value is not None else value
        for variable, value in values.items()
    }


def _value_of(variable: Variable, given: Mapping[str, str], problems: list[str]) -> Any:
    try:
        text = _text_of(variable, given)
    except ConfigError as error:
        problems += error.problems
        return None
    if text is None:
        return None
    try:
        return variable.read(text)
    except (ValueError, KeyError):
        value = "the value given" if variable.secret else f"`{_printable(text)}`"
        problems.append(f"{variable.name}: {value} is not {variable.expected}")
        return None


def _text_of(variable: Variable, given: Mapping[str, str]) -> str | None:
    name, path = variable.name, given.get(f"{variable.name}_FILE") if variable.secret else None
    if path is None:
        text = given.get(name, variable.default)
        if text is not None and any("\ud800" <= sign <= "\udfff" for sign in text):
            raise ConfigError([f"{name}: the value given is not UTF-8"])
        return text
    if name in given:
        raise ConfigError([f"{name}_FILE: cannot be combined with {name}"])
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read().rstrip("\r\n")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ConfigError([f"{name}_FILE: `{_printable(path)}` cannot be read: {reason}"]) from None
    if not text:
        raise ConfigError([f"{name}_FILE: `{_printable(path)}` is empty"])
    return text


def _conflicts(values: Mapping[str, Any]) -> list[str]:
    problems = []
    if values["port"] == values["metrics_port"]:
        problems.append(f"KALGUARD_METRICS_PORT: `{values['metrics_port']}` is the port of the API, KALGUARD_PORT, too")
    if (values["tls_cert_path"] is None) != (values["tls_key_path"] is None):
        missing = "KALGUARD_TLS_CERT_PATH" if values["tls_cert_path"] is None else "KALGUARD_TLS_KEY_PATH"
        problems.append(f"{missing}: is unset; TLS needs a certificate and a key")
    if values["token_secret"] is not None and values["token_jwks_path"] is not None:
        problems.append("KALGUARD_TOKEN_JWKS_PATH: cannot be combined with KALGUARD_TOKEN_SECRET")
    has_keys = values["token_secret"] is not None or values["token_jwks_path"] is not None
    if values["insecure_unsigned_tokens"] and has_keys:
        problems.append("KALGUARD_INSECURE_UNSIGNED_TOKENS: cannot be combined with a secret or key set")
    if values["insecure_unsigned_tokens"] and values["api_key"] is not None:
        # Without Cloud's key every token would pass: losing Cloud would open the door.
        problems.append("KALGUARD_INSECURE_UNSIGNED_TOKENS: cannot be combined with KALGUARD_API_KEY")
    return problems


def _warnings(given: Mapping[str, str], settings: Settings) -> list[str]:
    known = {variable.name for variable in VARIABLES} | _OF_THE_SDK
    known |= {f"{variable.name}_FILE" for variable in VARIABLES if variable.secret}
    unknown = sorted(name for name in given if name.startswith("KALGUARD_") and name not in known)
    warnings = [f"{name}: unknown variable, ignored" for name in unknown]
    if settings.blocked_phrases and settings.disable_content_check:
        warnings.append("KALGUARD_BLOCKED_PHRASES: has no effect with KALGUARD_DISABLE_CONTENT_CHECK=true")
    if settings.limits_on_store_loss != "local" and settings.redis_url is None:
        warnings.append("KALGUARD_LIMITS_ON_STORE_LOSS: has no effect without KALGUARD_REDIS_URL")
    if settings.state_dir is not None and settings.api_key is None:
        warnings.append("KALGUARD_STATE_DIR: has no effect without KALGUARD_API_KEY")
    if settings.api_key is not None and settings.token_jwks_path is not None:
        warnings.append("KALGUARD_TOKEN_JWKS_PATH: tokens are verified with it alone; KalGuard Cloud's key is not used")
    if settings.api_key is not None and not _is_private(settings.cloud_url):
        warnings.append("KALGUARD_CLOUD_URL: is not https; the API key and signing keys can be read on the way")
    return warnings


def _is_private(url: str) -> bool:
    """Whether nobody on the way can read what is sent there."""
    parts = urlsplit(url)
    return parts.scheme == "https" or parts.hostname in ("localhost", "127.0.0.1", "::1")


def _is_kubernetes(name: str, value: str) -> bool:
    if _KUBERNETES.fullmatch(name):
        return True
    return name == "KALGUARD_PORT" and _KUBERNETES_PORT.match(value) is not None


def _printable(text: str) -> str:
    shown_text = text if len(text) <= 80 else text[:77] + "..."
    return shown_text.encode("unicode_escape").decode("ascii")

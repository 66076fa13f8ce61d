"""The environment becomes settings, or one message for each mistake."""

from pathlib import Path

import pytest

from kalguard import config
from kalguard.errors import ConfigError

SECRET = "s" * 32


def problems(**variables: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config.load({f"KALGUARD_{name.upper()}": value for name, value in variables.items()})
    return caught.value.problems


def loaded(**variables: str) -> config.Loaded:
    return config.load({f"KALGUARD_{name.upper()}": value for name, value in variables.items()})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "abc"),
        ("port", "0"),
        ("port", "65536"),
        ("port", "-1"),
        ("port", " 80"),
        ("port", "٣"),
        ("metrics_port", "9.5"),
        ("host", "a b"),
        ("workers", "0"),
        ("prompt_block_threshold", "200"),
        ("prompt_block_threshold", "70.5"),
        ("prompt_sanitize_threshold", "-1"),
        ("tool_rate_limit", "0"),
        ("risk_weight_pii", "-1"),
        ("risk_weight_pii", "nan"),
        ("risk_weight_injection", "11"),
        ("policy_default_deny", "yes"),
        ("policy_default_deny", "True"),
        ("policy_watch", "1"),
        ("policy_watch_interval_ms", "0"),
        ("insecure_unsigned_tokens", "TRUE"),
        ("log_level", "verbose"),
        ("log_format", "xml"),
        ("audit_fsync", "sometimes"),
        ("token_leeway_s", "9999"),
        ("cloud_url", "ftp://x"),
        ("cloud_url", "api.kalguard.dev"),
        ("cloud_url", "https://:443"),
        ("cloud_url", "https://cloud.example:https"),
        ("cloud_url", "https://cloud.example:99999"),
        ("cloud_url", "https://user:password@cloud.example"),
        ("cloud_url", "https://cloud.example/?org=1"),
        ("cloud_url", "https://cloud example"),
        ("cloud_sync_interval_ms", "9999"),
        ("drain_seconds", "-3"),
    ],
)
def test_a_bad_value_is_reported_with_its_name_and_what_is_expected(name: str, value: str) -> None:
    (problem,) = problems(**{name: value})
    assert problem.startswith(f"KALGUARD_{name.upper()}: `")
    assert " is not " in problem


def test_a_short_secret_is_reported_and_not_shown() -> None:
    (problem,) = problems(token_secret="too-short")
    assert problem == "KALGUARD_TOKEN_SECRET: the value given is not at least 32 bytes"


def test_a_bad_api_key_is_reported_and_not_shown() -> None:
    (problem,) = problems(api_key="sk_live_abc")
    assert problem == "KALGUARD_API_KEY: the value given is not a key that starts with kg_live_ or kg_test_"


def test_all_mistakes_are_reported_together() -> None:
    names = [problem.partition(":")[0] for problem in problems(port="abc", prompt_block_threshold="200", workers="x")]
    assert names == ["KALGUARD_PORT", "KALGUARD_WORKERS", "KALGUARD_PROMPT_BLOCK_THRESHOLD"]


def test_control_characters_in_a_bad_value_are_escaped() -> None:
    (problem,) = problems(log_level="info\nKALGUARD_PORT: all is well")
    assert "\n" not in problem


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"port": "9293"}, "KALGUARD_METRICS_PORT"),
        ({"tls_cert_path": "/x"}, "KALGUARD_TLS_KEY_PATH"),
        ({"tls_key_path": "/x"}, "KALGUARD_TLS_CERT_PATH"),
        ({"token_secret": SECRET, "token_jwks_path": "/x"}, "KALGUARD_TOKEN_JWKS_PATH"),
        ({"token_secret": SECRET, "insecure_unsigned_tokens": "true"}, "KALGUARD_INSECURE_UNSIGNED_TOKENS"),
        ({"token_jwks_path": "/x", "insecure_unsigned_tokens": "true"}, "KALGUARD_INSECURE_UNSIGNED_TOKENS"),
    ],
)
def test_what_cannot_go_together_is_reported(variables: dict[str, str], named: str) -> None:
    assert [problem.partition(":")[0] for problem in problems(**variables)] == [named]


def test_the_defaults_are_those_of_the_documents() -> None:
    settings = loaded().settings
    assert (settings.host, settings.port, settings.metrics_port, settings.workers) == ("0.0.0.0", 9292, 9293, 1)
    assert (settings.prompt_block_threshold, settings.prompt_sanitize_threshold) == (70, 50)
    assert settings.policy_default_deny
    assert not settings.policy_watch
    assert not settings.insecure_unsigned_tokens
    unset = (settings.token_secret, settings.policy_path, settings.audit_log_path, settings.tool_rate_limit)
    assert unset == (None, None, None, None)
    assert settings.policy_watch_interval_ms == 500
    assert settings.cloud_sync_interval_ms == 300_000


def test_an_empty_variable_is_an_unset_one() -> None:
    empty = {variable.name: "" for variable in config.VARIABLES}
    assert config.load(empty) == config.load({})


def test_every_variable_fills_one_field_and_every_field_has_its_variable() -> None:
    assert [variable.field for variable in config.VARIABLES] == list(config.Settings.__struct_fields__)


def test_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    assert loaded(token_secret_file=str(tmp_path / "secret")).settings.token_secret == SECRET


def test_a_secret_from_two_places_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    (problem,) = problems(token_secret=SECRET, token_secret_file=str(tmp_path / "secret"))
    assert problem == "KALGUARD_TOKEN_SECRET_FILE: cannot be combined with KALGUARD_TOKEN_SECRET"


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff", b"short"])
def test_a_secret_file_that_holds_no_secret_is_a_mistake(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    (problem,) = problems(token_secret_file=str(path))
    assert problem.startswith("KALGUARD_TOKEN_SECRET")
    assert "short" not in problem


def test_only_secrets_are_read_from_files() -> None:
    assert loaded(policy_path_file="/x").warnings == ["KALGUARD_POLICY_PATH_FILE: unknown variable, ignored"]


def test_an_unknown_variable_is_a_warning() -> None:
    assert loaded(polcy_path="/x").warnings == ["KALGUARD_POLCY_PATH: unknown variable, ignored"]


def test_what_is_said_about_a_store_that_there_is_not_is_a_warning() -> None:
    assert loaded(limits_on_store_loss="closed").warnings == [
        "KALGUARD_LIMITS_ON_STORE_LOSS: has no effect without KALGUARD_REDIS_URL"
    ]
    assert loaded(limits_on_store_loss="closed", redis_url="redis://x").warnings == []


def test_what_kubernetes_injects_for_a_service_is_ignored() -> None:
    injected = {
        "KALGUARD_PORT": "tcp://10.0.0.1:9292",
        "KALGUARD_SERVICE_HOST": "10.0.0.1",
        "KALGUARD_SERVICE_PORT": "9292",
        "KALGUARD_SERVICE_PORT_HTTP": "9292",
        "KALGUARD_PORT_9292_TCP": "tcp://10.0.0.1:9292",
        "KALGUARD_PORT_9292_TCP_ADDR": "10.0.0.1",
    }
    assert config.load(injected) == config.load({})


def test_the_variables_of_the_sdk_are_no_surprise() -> None:
    assert loaded(sidecar_url="http://localhost:9292", agent_token="x").warnings == []


def test_an_api_key_and_unsigned_tokens_do_not_go_together() -> None:
    (problem,) = problems(api_key="kg_live_abc", insecure_unsigned_tokens="true")
    assert problem == "KALGUARD_INSECURE_UNSIGNED_TOKENS: cannot be combined with KALGUARD_API_KEY"


@pytest.mark.parametrize(
    ("variable", "variables"),
    [
        ("KALGUARD_CLOUD_URL", {"api_key": "kg_live_abc", "cloud_url": "http://cloud.example"}),
        ("KALGUARD_TOKEN_JWKS_PATH", {"api_key": "kg_live_abc", "token_jwks_path": "keys.json"}),
        ("KALGUARD_STATE_DIR", {"state_dir": "/var/lib/kalguard"}),
    ],
)
def test_what_has_an_odd_effect_with_cloud_is_a_warning(variable: str, variables: dict[str, str]) -> None:
    (warning,) = loaded(**variables).warnings
    assert warning.startswith(f"{variable}: ")


def test_an_api_key_alone_is_nothing_to_be_warned_of() -> None:
    assert loaded(api_key="kg_live_abc").warnings == []
    assert loaded(api_key="kg_live_abc", cloud_url="http://127.0.0.1:8000").warnings == []


def test_blocked_phrases_are_split_and_trimmed() -> None:
    assert loaded(blocked_phrases=" Projekt X , ,naïve,").settings.blocked_phrases == ("Projekt X", "naïve")


def test_secrets_are_never_shown() -> None:
    shown = config.shown(loaded(token_secret=SECRET, api_key="kg_live_abc").settings)
    assert shown["KALGUARD_TOKEN_SECRET"] == shown["KALGUARD_API_KEY"] == "(set, not shown)"
    assert SECRET not in repr(shown)

"""A proxy of the environment that cannot be used for Cloud is named at the start, not found out by a thread."""

import pytest

from kalguard.connector.client import CloudClient
from kalguard.connector.environment import proxy_for
from kalguard.errors import ConfigError

CLOUD = "https://cloud.example"


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize("scheme", ["socks5", "socks4", "socks5h", "ftp"])
def test_one_of_another_kind_is_refused(name: str, scheme: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}: a `{scheme}` proxy cannot be used for KALGUARD_CLOUD_URL"):
        proxy_for(CLOUD, {name: f"{scheme}://127.0.0.1:1080"})


def test_one_that_is_not_asked_is_no_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy_for(CLOUD, {})
    proxy_for(CLOUD, {"HTTPS_PROXY": "http://127.0.0.1:3128", "ALL_PROXY": ""})
    proxy_for("http://127.0.0.1:8000", {"ALL_PROXY": "socks5://127.0.0.1:1080"})
    monkeypatch.setenv("no_proxy", "cloud.example")
    proxy_for(CLOUD, {"ALL_PROXY": "socks5://127.0.0.1:1080"})


@pytest.mark.parametrize(
    ("environ", "proxy"),
    [
        ({"HTTPS_PROXY": "proxy.corp:3128"}, "http://proxy.corp:3128"),  # as most write it
        ({"https_proxy": "http://a:1", "ALL_PROXY": "socks5://b:2"}, "http://a:1"),
        ({"HTTP_PROXY": "socks5://127.0.0.1:1080"}, None),
        ({"ALL_PROXY": "socks5://127.0.0.1:1080", "NO_PROXY": "cloud.example"}, None),
        ({"ALL_PROXY": "http://127.0.0.1:1080", "NO_PROXY": "a b,::1/128"}, "http://127.0.0.1:1080"),
    ],
)
def test_only_the_one_that_is_asked_matters(
    environ: dict[str, str], proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert proxy_for(CLOUD, environ) == proxy
    CloudClient(CLOUD, "kg_test_key")  # and it can be made


@pytest.mark.parametrize("given", ["http://[::1", "http://p:99999", "http://", "http://user:secret@:1"])
def test_what_is_no_address_is_refused_and_not_repeated(given: str) -> None:
    with pytest.raises(ConfigError, match=r"HTTPS_PROXY: is not the address of a proxy\Z"):
        proxy_for(CLOUD, {"HTTPS_PROXY": given})

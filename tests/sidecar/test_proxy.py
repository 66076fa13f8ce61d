"""A proxy of the environment that cannot be used for Cloud is named at the start, not found out by a thread."""

import pytest

from kalguard.errors import ConfigError
from kalguard.sidecar.connection import check_proxy

CLOUD = "https://cloud.example"


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize("scheme", ["socks5", "socks4", "socks5h", "ftp"])
def test_one_of_another_kind_is_refused(name: str, scheme: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}: a `{scheme}` proxy cannot be used for KALGUARD_CLOUD_URL"):
        check_proxy(CLOUD, {name: f"{scheme}://127.0.0.1:1080"})


def test_one_that_is_not_asked_is_no_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    check_proxy(CLOUD, {})
    check_proxy(CLOUD, {"HTTPS_PROXY": "http://127.0.0.1:3128", "ALL_PROXY": ""})
    check_proxy("http://127.0.0.1:8000", {"ALL_PROXY": "socks5://127.0.0.1:1080"})
    monkeypatch.setenv("no_proxy", "cloud.example")
    check_proxy(CLOUD, {"ALL_PROXY": "socks5://127.0.0.1:1080"})

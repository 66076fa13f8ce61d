"""An adapter needs its framework and no other; the SDK needs none."""

import subprocess
import sys

import pytest

from tests.support import ROOT

FRAMEWORKS = {
    "langchain": ("langchain", "langchain_core", "langgraph"),
    "openai_agents": ("agents", "openai"),
    "pydantic_ai": ("pydantic_ai",),
}


def python(code: str) -> str:
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    return ended.stdout + ended.stderr


def without(*modules: str) -> str:
    return f"import sys\nsys.modules.update(dict.fromkeys({modules!r}))\n"


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_a_missing_framework_is_named_with_its_extra(name: str) -> None:
    output = python(without(*FRAMEWORKS[name]) + f"import kalguard.sdk.adapters.{name}")
    assert "ImportError: this needs " in output
    assert f'pip install "kalguard[{name.replace("_", "-")}]"' in output


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_the_other_frameworks_are_not_needed(name: str) -> None:
    others = [module for other, modules in FRAMEWORKS.items() if other != name for module in modules]
    assert (
        python(without(*others, "kalguard._core", "litestar") + f"import kalguard.sdk.adapters.{name}\nprint('ok')")
        == "ok\n"
    )


def test_the_sdk_needs_none() -> None:
    every = [module for modules in FRAMEWORKS.values() for module in modules]
    assert python(without(*every) + "import kalguard.sdk\nprint('ok')") == "ok\n"

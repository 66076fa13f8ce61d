"""The operator's patterns file: what it may say, and expressions compared with google-re2."""

import json
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kalguard._core import Conversation
from kalguard.decision.firewall import FirewallOptions, PromptFirewall, compile_expression
from kalguard.decision.model import Inspection
from kalguard.errors import PatternError
from kalguard.wire.check import write_json

PATTERN = {"id": "acme.x", "category": "harmful.illegal", "score": 50, "regex": "zz", "matches": ["zz"]}


def firewall(*patterns: Any, **more: Any) -> PromptFirewall:
    document = {"patterns": [{**PATTERN, **pattern} for pattern in patterns], **more}
    return PromptFirewall(FirewallOptions(), json.dumps(document).encode())


def inspect(target: PromptFirewall, text: str) -> Inspection:
    return target.inspect(Conversation(write_json({"messages": [{"role": "user", "content": text}]})), "agent")


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ("", "not JSON"),
        ("[]", "must be an object"),
        ('{"patterns": 1}', "`patterns` must be a list"),
        ('{"patterns": [1]}', "`patterns[0]`: must be an object"),
        ('{"rules": []}', "unknown key `rules`"),
        ('{"allow": "x"}', "`allow` must be a list"),
        ('{"modes": {"pii": "off"}}', "`modes.pii`"),
        ('{"modes": {"piii": "monitor"}}', "`modes.piii` is no part, no category and no pattern"),
    ],
)
def test_a_file_that_is_not_one_is_refused(document: str, told: str) -> None:
    with pytest.raises(PatternError) as refused:
        PromptFirewall(FirewallOptions(), document.encode())
    assert told in str(refused.value)


@pytest.mark.parametrize(
    "expression", ["(?=x)z", "(z)\\1", "(?<!x)z", "z{1001}", "(z", "(z{1000}){1000}", "((z{99}){99}){99}"]
)
def test_what_re2_refuses_is_refused(expression: str) -> None:
    with pytest.raises(PatternError, match=r"`acme\.x`"):
        firewall({"regex": expression, "matches": ["z"]})


def test_what_the_core_refuses_is_refused_though_re2_takes_it() -> None:
    compile_expression("\\C")
    with pytest.raises(PatternError, match=r"`acme\.x`"):
        firewall({"regex": "\\C", "matches": ["z"]})


def test_an_address_of_the_operators_is_replaced_and_the_digest_is_the_files() -> None:
    target = firewall({"category": "pii.secret", "regex": "emp-[0-9]{6}", "matches": ["EMP-123456"]})
    sanitized = inspect(target, "I am EMP-000123.").sanitized_messages
    assert sanitized is not None
    assert json.loads(sanitized)[0]["content"] == "I am [SECRET_REDACTED]."
    assert (target.pattern_count, len(target.digest)) == (1, 64)


# Texts that folding leaves as they are.
TEXTS = st.lists(st.text("abc-", min_size=1, max_size=6), min_size=1, max_size=5).map(" ".join)
ATOMS = st.sampled_from(["a", "b", "c", "-", " ", ".", "[ab]", "[^a]", "\\w", "\\W", "\\b", "^", "$", "\\s", "B"])


def _wrap(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    repeats = st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "*?", "+?"])
    return (
        st.lists(inner, min_size=1, max_size=4).map("".join)
        | st.lists(inner, min_size=2, max_size=3).map(lambda parts: f"(?:{'|'.join(parts)})")
        | st.tuples(inner, repeats).map(lambda pair: f"(?:{pair[0]}){pair[1]}")
    )


@settings(max_examples=60, deadline=None)
@given(expression=st.recursive(ATOMS, _wrap, max_leaves=8), texts=st.lists(TEXTS, min_size=3, max_size=8))
def test_expressions_match_where_google_re2_says(expression: str, texts: list[str]) -> None:
    oracle = compile_expression(expression)
    assume(oracle.search(b"") is None)
    hits = [text for text in texts if oracle.search(text.encode())]
    assume(hits)
    target = firewall({"category": "injection.hidden", "regex": expression, "matches": hits})
    for text in set(texts) - set(hits):
        found = {identifier for identifier, *_ in target.scanner.explain([(0, "user", text)])[1]}
        # A text can be another one in disguise (`a-b` is `ab`), and then says so.
        assert "acme.x" not in found or "hidden.disguised" in found

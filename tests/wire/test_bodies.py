"""The core reads bodies of the form that `wire.check` describes, and of no other."""

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kalguard._core import Conversation, ToolCall, read_definition
from kalguard.errors import BadRequest
from kalguard.wire.check import PromptCheck, ToolCheck, ToolRegister

# What the reader says of a form that the description rules out. Beyond that it may find more that is wrong.
OF_FORM = re.compile("expected `|missing required field")
SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=3)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner))


def objects(required: dict[str, Any], optional: dict[str, Any]) -> Any:
    """Objects that mostly have these fields as they should be, and now and then have others, or lack them."""
    fields = {name: value | VALUES for name, value in {**required, **optional}.items()}
    good = st.fixed_dictionaries(required, optional=optional)
    return st.one_of(good, good, st.fixed_dictionaries({}, optional=fields))


CONTEXTS = st.none() | objects({}, {"metadata": st.none() | st.dictionaries(st.text(max_size=3), SCALARS, max_size=3)})
PARTS = objects({"type": st.just("text"), "text": st.text(max_size=3)}, {})
CONTENTS = st.text(max_size=5) | st.lists(PARTS | VALUES, max_size=2)
MESSAGES = objects(
    {"role": st.sampled_from(["user", "tool", "x"]), "content": CONTENTS},
    {"name": st.none() | st.text(max_size=3), "tool_calls": st.none() | st.lists(VALUES, max_size=2)},
)
PROMPTS = objects({"messages": st.lists(MESSAGES, max_size=3)}, {"context": CONTEXTS})
ARGUMENTS = st.dictionaries(st.text(max_size=3), VALUES, max_size=2)
CALLS = objects({"toolName": st.text(max_size=5)}, {"arguments": ARGUMENTS, "args": ARGUMENTS, "context": CONTEXTS})
DEFINITIONS = objects(
    {"toolName": st.text(max_size=5), "argumentSchema": ARGUMENTS}, {"description": st.none() | st.text(max_size=3)}
)


@pytest.mark.parametrize(
    ("reader", "described", "bodies"),
    [(Conversation, PromptCheck, PROMPTS), (ToolCall, ToolCheck, CALLS), (read_definition, ToolRegister, DEFINITIONS)],
    ids=["prompt", "tool call", "definition"],
)
def test_what_is_read_has_the_form_that_is_described(reader: Any, described: Any, bodies: Any) -> None:
    seen = set()

    @settings(max_examples=500, deadline=None)
    @given(bodies)
    def compare(body: Any) -> None:
        try:
            msgspec.convert(body, described)
            has_form = True
        except msgspec.ValidationError:
            has_form = False
        try:
            reader(msgspec.json.encode(body))
            problem = ""
        except BadRequest as error:
            problem = str(error)
        seen.add((has_form, not problem))
        assert bool(problem) if not has_form else not OF_FORM.search(problem), (body, problem)

    compare()
    assert seen >= {(True, True), (False, False)}

"""The required cases of the JSON Schema test suite, each as the argument of a tool call over HTTP.

Every schema is tried as that of one argument, `value`, where it is a resource of its own, so that `#` in it means what
it does in the suite. Where it accepts an object at the top, it is tried as the whole schema as well. What refers to
another document is refused when the tools file is loaded, and which those are is listed here.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from kalguard.decision.mediator import load_tools
from kalguard.errors import ToolsError
from kalguard.records.sinks import MemorySink
from tests.support import ALLOW_ALL, VECTORS, app, bearer, call

DIALECTS = {
    "draft2020-12": "https://json-schema.org/draft/2020-12/schema",
    "draft7": "http://json-schema.org/draft-07/schema#",
}
# How many cases there are, and how many of them are refused at load.
CASES = {"draft2020-12": (1299, 53), "draft7": (913, 27)}
# Groups that need a document which is not in the schema, and a part of the reference that the message names.
REFUSED = {
    "draft2020-12": {
        "defs: validate definition against metaschema": "https://json-schema.org/draft/2020-12/schema",
        "dynamicRef: strict-tree schema, guards against misspelled properties": "tree.json",
        "dynamicRef: tests for implementation dynamic anchor and reference link": "extendible-dynamic-ref.json",
        "dynamicRef: $ref and $dynamicAnchor are independent of order - $defs first": "extendible-dynamic-ref.json",
        "dynamicRef: $ref and $dynamicAnchor are independent of order - $ref first": "extendible-dynamic-ref.json",
        "dynamicRef: $ref to $dynamicRef finds detached $dynamicAnchor": "detached-dynamicref.json",
        "ref: remote ref, containing refs itself": "https://json-schema.org/draft/2020-12/schema",
        "vocabulary: schema that uses custom metaschema with with no validation vocabulary": "metaschema-no-validation",
        "vocabulary: ignore unrecognized optional vocabulary": "metaschema-optional-vocabulary.json",
    },
    "draft7": {
        "definitions: validate definition against metaschema": "http://json-schema.org/draft-07/schema#",
        "ref: remote ref, containing refs itself": "http://json-schema.org/draft-07/schema#",
    },
}


class Group(NamedTuple):
    """One schema of the suite with its cases, and what it is called."""

    name: str
    schema: Any
    cases: list[dict[str, Any]]


def groups(draft: str) -> list[Group]:
    found = []
    for path in sorted((VECTORS / "json-schema" / draft).glob("*.json")):
        for written in json.loads(path.read_text()):
            found.append(Group(f"{path.stem}: {written['description']}", written["schema"], written["tests"]))
    return found


def wrapped(draft: str, schema: Any) -> dict[str, Any]:
    """A schema for arguments whose `value` is as `schema` says."""
    if isinstance(schema, dict):
        schema = {"$id": "https://example.com/case", **schema}
        if draft == "draft7" and "$ref" in schema:  # beside it, draft 7 passes over `$id` and all else
            kept = {name: value for name, value in schema.items() if name in ("$id", "$schema", "definitions")}
            schema = {**kept, "allOf": [{"$ref": schema["$ref"]}]}
    return {"$schema": DIALECTS[draft], "properties": {"value": schema}}


def refusal(schema: Any) -> str | None:
    """Why a schema is refused when the file is loaded, if it is."""
    try:
        load_tools(json.dumps({"tools": [{"name": "t", "argumentSchema": schema}]}).encode())
    except ToolsError as error:
        return str(error)
    return None


def is_refused(draft: str, group: Group) -> bool:
    return group.name in REFUSED[draft] or group.name.startswith("refRemote: ")


def forms(draft: str, group: Group) -> dict[str, Any]:
    """The schemas to try for a group: `value` around it, and `direct` where it accepts an object."""
    found = {"value": wrapped(draft, group.schema)}
    direct = {"$schema": DIALECTS[draft], **group.schema} if isinstance(group.schema, dict) else None
    if direct is not None and refusal(direct) is None:
        found["direct"] = direct
    return found


@pytest.mark.parametrize("draft", DIALECTS)
def test_what_needs_another_document_is_refused_by_name(draft: str) -> None:
    refused = [group for group in groups(draft) if is_refused(draft, group)]
    for group in refused:
        why = refusal(wrapped(draft, group.schema))
        assert why is not None, group.name
        assert "outside of the document" in why or "`$schema`" in why, group.name
        assert REFUSED[draft].get(group.name, "") in why
    assert sum(len(group.cases) for group in refused) == CASES[draft][1]


@pytest.mark.parametrize("draft", DIALECTS)
def test_every_other_case_is_judged_as_the_standard_says(draft: str, tmp_path: Path) -> None:
    tried = [group for group in groups(draft) if not is_refused(draft, group)]
    tools = [
        {"name": f"{form}.{index}", "argumentSchema": schema}
        for index, group in enumerate(tried)
        for form, schema in forms(draft, group).items()
    ]
    (tmp_path / "tools.json").write_text(json.dumps({"tools": tools}))
    (tmp_path / "policy.json").write_text(json.dumps(ALLOW_ALL))
    sink = MemorySink()
    target = app(sink, tools_path=str(tmp_path / "tools.json"), policy_path=str(tmp_path / "policy.json"))
    declared = {tool["name"] for tool in tools}
    headers, differing = bearer(), []
    for index, group in enumerate(tried):
        for case in group.cases:
            calls = {f"value.{index}": {"value": case["data"]}}
            if f"direct.{index}" in declared and isinstance(case["data"], dict):
                calls[f"direct.{index}"] = case["data"]
            for name, arguments in calls.items():
                call(target, "/v1/tool/check", {"toolName": name, "arguments": arguments}, headers=headers)
                record = json.loads(sink.lines[-1])
                # What fits the schema may still hold a command, which is looked for afterwards.
                fits = record["decision"] == "allow" or record["metadata"].get("failedCheck") == "command"
                if fits != case["valid"]:
                    differing.append((name, group.name, case["description"], record["reason"]))
    assert differing == []
    assert sum(len(group.cases) for group in tried) == CASES[draft][0] - CASES[draft][1]

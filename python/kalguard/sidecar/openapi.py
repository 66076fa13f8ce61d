"""The API described in OpenAPI 3.1, at `/schema/openapi.json`.

The bodies are described by the types in `wire.check` themselves, so that the description cannot drift from what is
read and written; what `requests` asks for beyond the types is added here. The check routes are raw ASGI, which Litestar
cannot describe by itself.
"""

from functools import cache
from typing import Any

import msgspec
from litestar.handlers import HTTPRouteHandler

from kalguard.decision.model import MAX_METADATA, MAX_TOOL_NAME_LENGTH
from kalguard.decision.registration import MAX_DESCRIPTION_BYTES, REGISTERED_NAME
from kalguard.sidecar.endpoint import endpoint
from kalguard.sidecar.health import HealthReply
from kalguard.sidecar.requests import (
    REQUEST_ID_HEADER,
)
from kalguard.version import VERSION
from kalguard.wire.check import PromptCheck, Reply, ToolCheck, ToolRegister
from kalguard.wire.codes import ErrorCode

_REFS = "#/components/schemas/{name}"
_STATUS_TEXTS = {
    200: "The agent may go ahead.",
    400: "The body is not what the endpoint takes; the message says which field.",
    401: "No token, or one that cannot be trusted.",
    403: "The check was carried out and the decision is no.",
    405: "Only POST.",
    413: "The body is larger than 5 MiB.",
    429: "A limit is used up, a tool's or the plan's; `retry-after` says for how many seconds.",
    500: "Something unforeseen; denied.",
    503: "The decision could not be put on record, or a required part is down; denied.",
}
# As in draft-ietf-httpapi-ratelimit-headers.
_LIMIT_TEXTS = (
    'The limits that the check was counted under, if any: `"agent";q=100;w=60` is 100 calls in 60 seconds.',
    'How they stand: `"agent";r=42;t=17` is 42 calls left, and more in 17 seconds.',
)
# On every reply, the latter while a licence of KalGuard Cloud is in force.
_HEADERS = {
    REQUEST_ID_HEADER.decode(): {"schema": {"type": "string"}},
    "x-kalguard-plan": {"schema": {"type": "string"}, "description": "The plan, where one is in force."},
    "x-kalguard-usage-remaining": {
        "schema": {"type": "integer"},
        "description": "Checks of the plan that are left today, as far as this instance knows; -1 is no limit.",
    },
    "x-ratelimit-reset": {
        "schema": {"type": "integer"},
        "description": "When the plan's next day begins (midnight UTC), in unix seconds.",
    },
}


def openapi_handler() -> HTTPRouteHandler:
    """The endpoint."""
    return endpoint("/schema/openapi.json", lambda _: (200, msgspec.json.encode(document())))


@cache
def document() -> dict[str, Any]:
    """The description, as JSON-compatible values."""
    _, components = msgspec.json.schema_components(
        [PromptCheck, ToolCheck, ToolRegister, Reply, HealthReply], ref_template=_REFS
    )
    prompt = _check("Check a prompt before it goes to a model", "PromptCheck")
    _refine(components)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "KalGuard",
            "version": VERSION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {
            "/v1/prompt/check": {"post": {**prompt, "operationId": "checkPrompt"}},
            "/v1/llm/check": {"post": {**prompt, "operationId": "checkLlm"}},
            "/v1/tool/check": {
                "post": {**_check("Check a tool call before it is made", "ToolCheck"), "operationId": "checkTool"}
            },
            "/v1/tool/register": {
                "post": {
                    **_check("Register a tool, so that it can be called", "ToolRegister"),
                    "operationId": "registerTool",
                }
            },
            "/health": {"get": {**_probe("Whether the service is fit to decide"), "operationId": "health"}},
            "/health/live": {"get": {**_probe("Whether the process answers", always=True), "operationId": "live"}},
            "/health/ready": {"get": {**_probe("Whether traffic should be sent here"), "operationId": "ready"}},
        },
        "components": {
            "schemas": components,
            "securitySchemes": {"agentToken": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def _refine(components: dict[str, Any]) -> None:
    """Say what a body must be beyond the types of its fields (`requests`). Some of it no schema can say: how deep."""
    text, part = {"type": "string"}, {"$ref": _REFS.format(name="ContentPart")}
    components["ContentPart"] = {
        "title": "ContentPart",
        "description": "A part of a message: text, a tool's result, or anything else that names its type.",
        "type": "object",
        "properties": {
            "type": text,
            "text": {"type": ["string", "null"]},
            "content": {"if": {"type": "array"}, "then": {"items": {"anyOf": [text, part]}}},
        },
        "required": ["type"],
        "if": {"properties": {"type": {"const": "text"}}},
        "then": {"properties": {"text": text}, "required": ["text"]},
    }
    message = components["Message"]
    message["properties"]["content"] = {"anyOf": [text, {"type": "array", "items": part}, {"type": "null"}]}
    message["anyOf"] = [
        {"required": ["content"], "properties": {"content": {"type": ["string", "array"]}}},
        {"required": ["tool_calls"], "properties": {"tool_calls": {"type": "array", "minItems": 1}}},
    ]
    components["PromptCheck"]["properties"]["messages"]["minItems"] = 1
    components["Context"]["properties"]["metadata"]["anyOf"][0]["maxProperties"] = MAX_METADATA
    components["ToolCheck"]["properties"]["toolName"] |= {"minLength": 1, "maxLength": MAX_TOOL_NAME_LENGTH}
    components["ToolCheck"]["not"] = {"required": ["arguments", "args"]}
    register = components["ToolRegister"]["properties"]
    register["toolName"]["pattern"] = f"^{REGISTERED_NAME}$"
    register["description"]["anyOf"][0]["maxLength"] = MAX_DESCRIPTION_BYTES  # fewer where a character has several


def _check(summary: str, body: str) -> dict[str, Any]:
    statuses = sorted({200, *(code.status for code in ErrorCode)} & set(_STATUS_TEXTS))
    return {
        "summary": summary,
        "security": [{"agentToken": []}],
        "parameters": [
            {
                "name": REQUEST_ID_HEADER.decode(),
                "in": "header",
                "required": False,
                "schema": {"type": "string"},
                "description": "Comes back with the reply and stands in the audit record, if it is 1 to 128 of "
                "`A-Za-z0-9._:-`. Anything else is replaced by a fresh one.",
            }
        ],
        "requestBody": {"required": True, "content": _json(body)},
        "responses": {str(status): _response(status) for status in statuses},
    }


def _response(status: int) -> dict[str, Any]:
    headers: dict[str, Any] = {**_HEADERS}
    if status in (200, 403, 429):
        headers["ratelimit-policy"] = {"schema": {"type": "string"}, "description": _LIMIT_TEXTS[0]}
        headers["ratelimit"] = {"schema": {"type": "string"}, "description": _LIMIT_TEXTS[1]}
    if status in (429, 503):
        headers["retry-after"] = {"schema": {"type": "integer"}, "description": "Seconds."}
    if status == 405:
        headers["allow"] = {"schema": {"type": "string"}}
    return {"description": _STATUS_TEXTS[status], "headers": headers, "content": _json("Reply")}


def _probe(summary: str, *, always: bool = False) -> dict[str, Any]:
    told = {"headers": _HEADERS, "content": _json("HealthReply")}
    no = {"description": "No; `failing` names the parts that do not work.", **told}
    return {
        "summary": summary,
        "security": [],
        "responses": {
            "200": {"description": "Yes.", **told},
            **({} if always else {"503": no}),
        },
    }


def _json(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": _REFS.format(name=schema)}}}

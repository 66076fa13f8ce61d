"""Is it permitted: policy documents, from bytes to an answer. What decides is compiled and evaluated by the core."""

import hashlib
from typing import Any

import msgspec

from kalguard._core import Arguments, Evaluation, PolicySet
from kalguard.decision.documents import decode, encode, validate
from kalguard.decision.model import AccessRequest
from kalguard.errors import PolicyError

_BUILT_IN = ("messageCount", "toolName")


class Policy(msgspec.Struct, frozen=True):
    """A policy in force. `digest` is the SHA-256 of the document as it was read, in hex."""

    rules: PolicySet
    version: str
    digest: str

    def evaluate(self, access: AccessRequest) -> Evaluation:
        """Ask for a decision. Total."""
        return self.rules.evaluate(access.agent_id, access.action, access.tool, access.attributes, call_of(access))


def call_of(access: AccessRequest) -> tuple[Arguments, tuple[str, ...]] | None:
    """The arguments of a tool call, and the categories of what was found in them."""
    if access.arguments is None:
        return None
    return access.arguments, tuple(finding.category for finding in access.findings)


def load_policy(document: bytes, *, may_allow_all: bool = False) -> Policy:
    """Compile a policy document. Raises `PolicyError`, whose message names the rule (or test) and the field.

    `may_allow_all` permits a document without rules whose default is to allow.
    """
    value = decode(document, PolicyError)
    rules = PolicySet(encode(value, PolicyError))
    validate(value, "policy", PolicyError)
    if not may_allow_all and not value["rules"] and value.get("defaultDecision") == "allow":
        raise PolicyError(
            "`rules` is empty and `defaultDecision` is `allow`: that permits everything to everyone; "
            "set KALGUARD_POLICY_DEFAULT_DENY=false if it is meant"
        )
    return Policy(
        rules=rules,
        version=value.get("version", ""),
        digest=hashlib.sha256(document).hexdigest(),
    )


def default_policy(*, deny: bool, reason: str = "no matching rule") -> Policy:
    """The policy for when there is no file."""
    document: dict[str, Any] = {"rules": [], "defaultDecision": "deny" if deny else "allow", "defaultReason": reason}
    return load_policy(msgspec.json.encode(document), may_allow_all=not deny)


def attributes_of(requested: dict[str, Any], granted: dict[str, Any], **built_in: str) -> dict[str, str]:
    """Join what a policy can ask for: the request's metadata, the token's over it, and what we know ourselves.

    Values are text; booleans and whole numbers count as they are written in JSON. Any other value cannot meet a
    condition, but a token's still hides the request's of the same name. Nobody but us sets the built-in names.
    """
    if not requested and not granted:
        return built_in
    joined = {**requested, **granted}
    attributes = {key: text for key, value in joined.items() if (text := _as_text(value)) is not None}
    for name in _BUILT_IN:
        attributes.pop(name, None)
    attributes.update(built_in)
    return attributes


def _as_text(value: object) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else None

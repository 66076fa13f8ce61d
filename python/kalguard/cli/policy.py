"""`kalguard policy`: validate a policy document, and ask it what it would say."""

from pathlib import Path

import click
import msgspec

from kalguard.cli.options import FILE, Pair, settings
from kalguard.cli.validity import report
from kalguard.decision.model import AccessRequest, Action
from kalguard.decision.policy import Policy, attributes_of, load_policy
from kalguard.errors import PolicyError


@click.group()
def policy() -> None:
    """Validate policy documents and try them out."""


@policy.command()
@click.argument("file", type=FILE)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(file: Path, as_json: bool) -> None:
    """Validate a policy document. Exit 0 if the service would take it up, 1 if not."""

    def load(document: bytes) -> tuple[int, str]:
        loaded = _load(document)
        return loaded.rules.rule_count, loaded.digest

    report(file, "rule", load, as_json=as_json)


@policy.command()
@click.argument("file", type=FILE)
@click.option("--agent", required=True, help="The agent's id.")
@click.option("--action", required=True, type=click.Choice([str(a) for a in Action]), help="What it wants to do.")
@click.option("--tool", help="The tool, for tool:execute.")
@click.option("--attribute", "attributes", multiple=True, type=Pair(), help="An attribute of the request.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def test(
    *, file: Path, agent: str, action: str, tool: str | None, attributes: tuple[tuple[str, str], ...], as_json: bool
) -> None:
    """Ask a policy document for a decision, and say which rule gives it and why none before did.

    Exit 0 if the decision is allow, 1 if it is anything else.
    """
    if (action == Action.TOOL_EXECUTE) != (tool is not None):
        raise click.UsageError("--tool goes with --action tool:execute, and only with it")
    try:
        loaded = _load(file.read_bytes())
    except PolicyError as error:
        raise click.UsageError(f"{file}: {error}") from None
    given = dict(attributes)
    built_in = {"toolName": tool} if tool is not None else {"messageCount": given.pop("messageCount", "1")}
    access = AccessRequest(
        action=Action(action), agent_id=agent, attributes=attributes_of(given, {}, **built_in), tool=tool
    )
    answer = loaded.evaluate(access)
    steps = loaded.rules.explain(access.agent_id, access.action, access.tool, access.attributes)
    if as_json:
        answered = {
            "decision": answer.decision,
            "ruleId": answer.rule_id,
            "reason": answer.reason,
            "rules": [{"id": rule, "failed": failed} for rule, failed in steps],
        }
        click.echo(msgspec.json.encode(answered))
    else:
        for rule, failed in steps:
            click.echo(f"  {rule}: " + ("matches" if failed is None else f"condition `{failed}` does not hold"))
        decided_by = "the default" if answer.rule_id is None else f"rule {answer.rule_id}"
        click.echo(f"{answer.decision} by {decided_by}: {answer.reason}")
    raise SystemExit(0 if answer.decision == "allow" else 1)


def _load(document: bytes) -> Policy:
    """Load as the service would in this environment."""
    return load_policy(document, may_allow_all=not settings().policy_default_deny)

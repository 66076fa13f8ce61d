"""`kalguard policy`: validate a policy document, ask it what it would say, and compare it with another."""

from pathlib import Path

import click
import msgspec

from kalguard._core import Arguments
from kalguard.cli.options import FILE, Pair, settings
from kalguard.cli.policy_diff import diff
from kalguard.cli.validity import Good, report
from kalguard.decision.model import AccessRequest, Action
from kalguard.decision.policy import Policy, attributes_of, call_of, load_policy
from kalguard.errors import BadRequest, PolicyError
from kalguard.sidecar.firewall import firewall_now


@click.group()
def policy() -> None:
    """Validate policy documents and try them out."""


@policy.command()
@click.argument("file", type=FILE)
@click.option("--strict", is_flag=True, help="Exit 1 for warnings too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(file: Path, strict: bool, as_json: bool) -> None:
    """Validate a policy document and run its tests. Exit 0 if the service would take it up, 1 if not.

    Warns of rules that can never decide and of conditions that can never hold.
    """

    def load(document: bytes) -> Good:
        loaded = _load(document)
        return Good(loaded.rules.rule_count, loaded.digest, loaded.rules.lint())

    report(file, "rule", load, as_json=as_json, strict=strict)


@policy.command()
@click.argument("file", type=FILE)
@click.option("--agent", required=True, help="The agent's id.")
@click.option("--action", required=True, type=click.Choice([str(a) for a in Action]), help="What it wants to do.")
@click.option("--tool", help="The tool, for tool:execute and tool:register.")
@click.option("--attribute", "attributes", multiple=True, type=Pair(), help="An attribute of the request.")
@click.option("--arguments", help="What the tool is called with: a JSON object, for tool:execute. [default: {}]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def test(
    *,
    file: Path,
    agent: str,
    action: str,
    tool: str | None,
    attributes: tuple[tuple[str, str], ...],
    arguments: str | None,
    as_json: bool,
) -> None:
    """Ask a policy document for a decision, and say which rule gives it and why none before did.

    Exit 0 if the decision is allow, 1 if it is anything else.
    """
    if (action == Action.PROMPT_CHECK) == (tool is not None):
        raise click.UsageError("--tool goes with the actions on tools, and only with them")
    if action != Action.TOOL_EXECUTE and arguments is not None:
        raise click.UsageError("--arguments goes with --action tool:execute, and only with it")
    try:
        loaded = _load(file.read_bytes())
    except PolicyError as error:
        raise click.UsageError(f"{file}: {error}") from None
    given = dict(attributes)
    built_in = {"toolName": tool} if tool is not None else {"messageCount": given.pop("messageCount", "1")}
    call = _call("{}" if arguments is None else arguments) if action == Action.TOOL_EXECUTE else None
    access = AccessRequest(
        action=Action(action),
        agent_id=agent,
        attributes=attributes_of(given, {}, **built_in),
        tool=tool,
        arguments=call,
        findings=() if call is None else firewall_now(settings()).find_in_arguments(call),
    )
    answer = loaded.evaluate(access)
    steps = loaded.rules.explain(access.agent_id, access.action, access.tool, access.attributes, call_of(access))
    if as_json:
        answered = {
            "decision": answer.decision,
            "ruleId": answer.rule_id,
            "reason": answer.reason,
            "findings": [finding.category for finding in access.findings],
            "rules": [{"id": rule, "failed": failed} for rule, failed in steps],
        }
        click.echo(msgspec.json.encode(answered))
    else:
        for rule, failed in steps:
            click.echo(f"  {rule}: " + ("matches" if failed is None else f"condition `{failed}` does not hold"))
        if access.findings:
            click.echo("  found in the arguments: " + ", ".join(finding.category for finding in access.findings))
        decided_by = "the default" if answer.rule_id is None else f"rule {answer.rule_id}"
        click.echo(f"{answer.decision} by {decided_by}: {answer.reason}")
    raise SystemExit(0 if answer.decision == "allow" else 1)


def _call(arguments: str) -> Arguments:
    try:
        return Arguments(arguments.encode())
    except (BadRequest, UnicodeEncodeError) as error:
        raise click.UsageError(f"--arguments: {error}") from None


policy.add_command(diff)


def _load(document: bytes) -> Policy:
    """Load as the service would in this environment."""
    return load_policy(document, may_allow_all=not settings().policy_default_deny)

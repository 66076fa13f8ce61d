"""`kalguard policy diff`: which recorded decisions another policy would change.

The audit log holds who asked for what, and neither attributes nor arguments. Where a rule depends on them, what the log
says about the rule that decided then is used; what still cannot be told is counted as such.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from kalguard.cli.options import FILE
from kalguard.decision.policy import Policy, load_policy
from kalguard.errors import PolicyError
from kalguard.records.reader import open_log, read_lines, read_record

_ACTIONS = {"prompt": "prompt:check", "tool": "tool:execute", "register": "tool:register"}


class _Asked(msgspec.Struct, frozen=True):
    """A request as the log has it. `findings` is `None` where nobody looked for them."""

    agent_id: str
    action: str
    tool: str | None
    message_count: int | None
    findings: tuple[str, ...] | None
    rule_id: str | None
    policy_digest: str

    @property
    def name(self) -> str:
        """The request in a few words."""
        what = "" if self.action == "prompt:check" else f" {self.tool or '(a tool whose name is not on record)'}"
        return f"{self.agent_id} {self.action}{what}"


class _Outcome(msgspec.Struct, frozen=True):
    """What the two policies say: one decision each, where it can be told."""

    asked: str
    old: tuple[str, ...]
    new: tuple[str, ...]

    @property
    def kind(self) -> str:
        if len(self.old) > 1 or len(self.new) > 1:
            return "unchanged" if self.old == self.new == () else "undecided"
        return "unchanged" if self.old == self.new else "changed"


@click.command()
@click.argument("old", type=FILE)
@click.argument("new", type=FILE)
@click.option("--against", "logs", required=True, multiple=True, type=FILE, help="Audit log; may be given again.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def diff(old: Path, new: Path, logs: tuple[Path, ...], as_json: bool) -> None:
    """Say which recorded decisions would change if NEW took the place of OLD.

    The log holds neither attributes nor arguments. Where the answer depends on them, a decision counts as one that may
    change. Exit 0 if none would or may change, 1 otherwise.
    """
    before, after = _load(old), _load(new)
    asked: Counter[_Asked] = Counter()
    skipped = 0
    for log in logs:
        for record in _records(log):
            if record is None:
                skipped += 1
            else:
                asked[record] += 1
    outcomes: Counter[_Outcome] = Counter()
    for request, count in asked.items():
        outcomes[_compare(before, after, request)] += count
    kinds = ("changed", "undecided")
    told = {kind: [item for item in outcomes.most_common() if item[0].kind == kind] for kind in kinds}
    sums = {kind: sum(count for _, count in items) for kind, items in told.items()}
    total = outcomes.total()
    if as_json:
        lists = {
            kind: [
                {"request": outcome.asked, "old": outcome.old, "new": outcome.new, "records": count}
                for outcome, count in items
            ]
            for kind, items in told.items()
        }
        click.echo(msgspec.json.encode({"records": total, "skippedLines": skipped, **lists}))
    else:
        for kind, word in (("changed", "changes"), ("undecided", "may change")):
            for outcome, count in told[kind]:
                click.echo(f"{word}: {outcome.asked}: {_words(outcome.old)} -> {_words(outcome.new)} ({count} records)")
        rest = total - sum(sums.values())
        click.echo(f"{total} decisions: {rest} stay, {sums['changed']} change, {sums['undecided']} may change")
    if skipped:
        click.echo(f"{skipped} lines are no audit records and were passed over", err=True)
    raise SystemExit(1 if any(sums.values()) else 0)


def _load(file: Path) -> Policy:
    try:
        return load_policy(file.read_bytes(), may_allow_all=True)
    except PolicyError as error:
        raise click.UsageError(f"{file}: {error}") from None


def _records(log: Path) -> Iterator[_Asked | None]:
    """The requests of which a policy was asked; `None` for a line that is no record."""
    with open_log(str(log)) as stream:
        for line in read_lines(stream):
            record = read_record(line)
            if record is None:
                yield None
            elif "ruleId" in record.metadata:
                try:
                    yield _asked(record.agent_id, record.metadata)
                except (TypeError, KeyError, AttributeError, msgspec.ValidationError):
                    yield None


def _asked(agent_id: str | None, metadata: dict[str, Any]) -> _Asked:
    tool, found = metadata.get("toolName"), metadata.get("findings")
    action = _ACTIONS[metadata["check"]]
    known = action == "tool:execute" and found is not None
    asked = {
        "agent_id": agent_id,
        "action": action,
        "tool": None if tool is None or tool.startswith("sha256:") else tool,
        "message_count": metadata.get("messageCount"),
        "findings": sorted({finding["category"] for finding in found or ()}) if known else None,
        "rule_id": metadata["ruleId"],
        "policy_digest": metadata["policyDigest"],
    }
    return msgspec.convert(asked, _Asked)


def _compare(old: Policy, new: Policy, asked: _Asked) -> _Outcome:
    attributes = {}
    if asked.tool is not None:
        attributes["toolName"] = asked.tool
    if asked.message_count is not None:
        attributes["messageCount"] = str(asked.message_count)
    decided = (old.rules, asked.rule_id) if asked.policy_digest == old.digest else None
    request = (asked.agent_id, asked.action, asked.tool)
    said = (policy.rules.possible(request, attributes, asked.findings, decided) for policy in (old, new))
    return _Outcome(asked.name, *said)


def _words(decisions: tuple[str, ...]) -> str:
    return " or ".join(decisions)

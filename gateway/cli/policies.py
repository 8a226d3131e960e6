"""customhouse policy: who may do what."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.invocation import Invocation, common, end, now_us
from gateway.cli.screen import BOLD, GREEN, RED
from gateway.domain.operator import Exit, OperationRefused, usage

if TYPE_CHECKING:
    from gateway.app.operations.asking import Answer
    from gateway.app.operations.reading import Reading
    from gateway.policy.compare import Change
    from gateway.policy.snapshot import Snapshot

FOLDER = click.argument("folder", type=click.Path(path_type=Path), required=False)


@click.group()
def policy() -> None:
    """Who may do what: check and test the files, ask them, put them in force."""


@policy.command("check")
@FOLDER
@common
def check(on: Invocation, folder: Path | None) -> None:
    """Read the policy folder and say what is wrong or doubtful. Exit 3: it would not be loaded."""
    from gateway.policy import files, lint
    from gateway.policy.finding import Level

    bindings = on.reading().identity.bindings()
    findings = lint.check(files.read(_folder(on, folder)), bindings)
    errors = [finding for finding in findings if finding.level is Level.ERROR]
    if on.screen.as_json:
        rows = ("file", "line", "level", "what", "why", "fix")
        on.screen.value([{key: getattr(f, key) for key in rows} for f in findings])
    else:
        for finding in findings:
            on.screen.text(finding.say())
        remarks = len(findings) - len(errors)
        on.screen.note(f"{len(errors)} errors, {remarks} warnings")
    end(Exit.INVALID if errors else Exit.YES)


@policy.command("test")
@FOLDER
@common
def test(on: Invocation, folder: Path | None) -> None:
    """Ask the policy its golden cases. Exit 1: it answers one of them otherwise, 3: it is invalid."""
    from gateway.policy import cases, files
    from gateway.policy.load import compile as compile_policy

    source = files.read(_folder(on, folder))
    snapshot = compile_policy(source, on.reading().identity.bindings())
    results = cases.run(snapshot, source)
    failed = [result for result in results if not result.passed]
    if on.screen.as_json:
        on.screen.value(
            [
                {
                    "file": r.case.file,
                    "line": r.case.line,
                    "name": r.case.name,
                    "problem": r.problem,
                }
                for r in results
            ]
        )
    else:
        for result in failed:
            place = f"{result.case.file}:{result.case.line}"
            on.screen.line(f"FAILED  {place}: {result.case.name}", RED)
            on.screen.line(f"  {result.problem}")
        on.screen.note(f"{len(results) - len(failed)} of {len(results)} cases as expected")
        if not results:
            on.screen.note("a policy without cases can be broken unnoticed: write some in cases/")
    end(Exit.NO if failed else Exit.YES)


@policy.command("explain")
@click.argument("agent")
@click.argument("object_", metavar="OBJECT")
@click.option("--act", default="", help="Default: the usual one, such as call for tools.")
@click.option("--arguments", default="{}", help="JSON, for conditions on arguments.")
@click.option("--at", "at", default="", help="When (default: now), for conditions on time.")
@click.option("--draft", is_flag=True, help="Ask the files as they are, not the policy in force.")
@common
def explain(on: Invocation, agent: str, object_: str, **given: Any) -> None:
    """Why AGENT may or may not do that to OBJECT, with every rule that matches or nearly does."""
    answer = _asked(on, agent, object_, **given)
    if on.screen.as_json:
        on.screen.value(answer.as_json())
        return
    on.screen.text(answer.explanation.say())
    if answer.stopped:
        on.screen.line(f"  but: {answer.stopped}", RED)


@policy.command("can-i")
@click.argument("agent")
@click.argument("object_", metavar="OBJECT", required=False)
@click.option("--list", "listed", is_flag=True, help="Everything the agent may see.")
@click.option("--act", default="")
@click.option("--arguments", default="{}", help="JSON, for conditions on arguments.")
@click.option("--at", "at", default="", help="When (default: now).")
@click.option("--draft", is_flag=True, help="Ask the files as they are, not the policy in force.")
@common
def can_i(
    on: Invocation,
    agent: str,
    object_: str | None,
    listed: bool,
    **given: Any,
) -> None:
    """Whether AGENT may: `yes` and exit 0, or `no` and exit 1. Rates and budgets are not asked."""
    if listed:
        _list_visible(on, agent, draft=given["draft"])
        return
    if object_ is None:
        raise usage("OBJECT is missing", "say what it would act on, or --list")
    answer = _asked(on, agent, object_, **given)
    if on.screen.as_json:
        on.screen.value(answer.as_json())
    else:
        by = answer.stopped or answer.explanation.sentence
        on.screen.line("yes" if answer.yes else "no", GREEN if answer.yes else RED)
        on.screen.note(f"by: {by}")
        if answer.explanation.fix and not answer.stopped:
            on.screen.note(f"fix: {answer.explanation.fix}")
    end(Exit.YES if answer.yes else Exit.NO)


@policy.command("who-can")
@click.argument("object_", metavar="OBJECT")
@click.option("--act", default="", help="Default: the usual one, such as call for tools.")
@click.option("--draft", is_flag=True, help="Ask the files as they are, not the policy in force.")
@common
def who_can(on: Invocation, object_: str, act: str, draft: bool) -> None:
    """Every agent that may do that to OBJECT, or may under conditions. Exit 1: nobody."""
    from gateway.app.operations.comparing import who_can as able_agents

    house = on.reading()
    able = list(able_agents(house, _snapshot(on, house, draft=draft), object_, act))
    if on.screen.as_json:
        on.screen.value([one.as_json() for one in able])
    else:
        rows = [(one.agent, one.tenant, one.answer, one.by) for one in able]
        on.screen.table(("AGENT", "TENANT", "MAY", "BY"), rows)
    end(Exit.YES if able else Exit.NO)


@policy.command("diff")
@FOLDER
@common
def diff(on: Invocation, folder: Path | None) -> None:
    """What would change if FOLDER (default: the policy folder) were put in force. Exit 1: something."""
    from gateway.app.operations.comparing import differences
    from gateway.policy import files
    from gateway.policy.load import compile as compile_policy

    house = on.reading()
    before = _snapshot(on, house, draft=False)
    source = files.read(_folder(on, folder))
    after = compile_policy(source, house.identity.bindings())
    lines = _changed_lines(before, after)
    found = differences(house, before, after)
    if on.screen.as_json:
        on.screen.value({"rules": lines, "agents": [_as_json(change) for change in found]})
    else:
        for sign, text in lines:
            on.screen.line(f"{sign} {text}", GREEN if sign == "+" else RED)
        head = ("AGENT", "TENANT", "OBJECT", "ACT", "NOW", "THEN")
        on.screen.table(head, [tuple(_as_json(change).values()) for change in found])
        gains = sum(change.gains for change in found)
        on.screen.note(f"{gains} gained, {len(found) - gains} lost or changed")
    end(Exit.NO if lines or found else Exit.YES)


def _changed_lines(before: Snapshot, after: Snapshot) -> list[tuple[str, str]]:
    """("-" or "+", line) of rules and roles, in the order of their files."""
    old = dict.fromkeys([r.text for r in before.rules] + [k.text for k in before.links])
    new = dict.fromkeys([r.text for r in after.rules] + [k.text for k in after.links])
    removed = [("-", text) for text in old if text not in new]
    return removed + [("+", text) for text in new if text not in old]


def _as_json(change: Change) -> dict[str, str]:
    who = change.principal
    return {
        "agent": who.subject,
        "tenant": who.tenant,
        "object": change.object,
        "act": str(change.act),
        "now": change.before,
        "then": change.after,
    }


@policy.command("apply")
@common
def apply(on: Invocation) -> None:
    """Put the policy folder in force: all of it or nothing, an entry in the log."""
    _folder(on, None)
    done = on.change("policy.apply")
    if on.screen.as_json:
        on.screen.value(done)
        return
    on.screen.line(f"policy {done['version'][:12]} is in force: {done['rules']} rules", BOLD)
    for warning in done["warnings"]:
        on.screen.note(warning)
    if not done["cases"]:
        on.screen.note("a policy without cases can be broken unnoticed: write some in cases/")


def _folder(on: Invocation, named: Path | None) -> Path:
    """The policy folder. Raises: OperationRefused: there is none."""
    folder = named or on.config.policies
    if not folder.is_dir():
        raise OperationRefused(
            f"there is no folder {folder}",
            "without a policy everything is denied",
            "make one to begin with: customhouse init",
            Exit.INVALID,
        )
    return folder


def _asked(on: Invocation, agent: str, object_: str, **given: Any) -> Answer:
    from gateway.app.operations.asking import Question, ask
    from gateway.app.operations.query import moment

    arguments = sys.stdin.read() if given["arguments"] == "-" else given["arguments"]
    at_us = moment(given["at"], now_us())[0] if given["at"] else now_us()
    house = on.reading()
    question = Question(agent, object_, given["act"], arguments, at_us)
    return ask(house, _snapshot(on, house, draft=given["draft"]), question)


def _snapshot(on: Invocation, house: Reading, *, draft: bool) -> Snapshot:
    """The policy in force; before a gateway ever ran, or as a draft, the files."""
    from gateway.app.operations.reading import policy_in_force
    from gateway.policy import files
    from gateway.policy.load import compile as compile_policy
    from gateway.policy.snapshot import builtin_deny_all

    if house.database is not None and not draft:
        with on.trail() as trail:
            return policy_in_force(trail)
    if not on.config.policies.is_dir():
        return builtin_deny_all()
    return compile_policy(files.read(on.config.policies), house.identity.bindings())


def _list_visible(on: Invocation, agent: str, *, draft: bool) -> None:
    from gateway.app.operations.asking import visible

    house = on.reading()
    seen = visible(house, _snapshot(on, house, draft=draft), agent)
    if on.screen.as_json:
        on.screen.value([{"object": d.object, "wire_name": d.wire_name} for d in seen])
    else:
        on.screen.table(("OBJECT", "ON /mcp"), [(d.object, d.wire_name) for d in seen])
    end(Exit.YES if seen else Exit.NO)

"""customhouse policy: who may do what."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.differing import show_differences
from gateway.cli.invocation import Command, Invocation, common, end, now_us
from gateway.cli.screen import BOLD, GREEN, RED
from gateway.cli.simulating import simulate
from gateway.cli.suggesting import suggest, unused
from gateway.cli.versions import COMMANDS, SHOWN, say_in_force
from gateway.domain.operator import Exit, OperationRefused, usage

if TYPE_CHECKING:
    from gateway.app.operations.asking import Answer
    from gateway.app.operations.reading import Reading
    from gateway.policy.snapshot import Snapshot

FOLDER = click.argument("folder", type=click.Path(path_type=Path), required=False)
AT = click.option(
    "--at",
    default="",
    help="The policy in force then, such as 7d or 2026-11-22T10:30Z; conditions see that time.",
)


NOTHING: tuple[tuple[str, ...], ...] = ((), ())


def proving(command: Command) -> Command:
    """The options that say what a token proves; the command gets `proved`."""

    @click.option("--role", "roles", multiple=True, help="ISSUER/SUBJECT: a role its token proves.")
    @click.option("--scope", "scopes", multiple=True, help="ISSUER/SUBJECT: a scope of its token.")
    @functools.wraps(command)
    def called(*args: Any, roles: tuple[str, ...], scopes: tuple[str, ...], **given: Any) -> Any:
        return command(*args, proved=(roles, scopes), **given)

    return called  # type: ignore[return-value]  # the same command, with options in one


@click.group()
def policy() -> None:
    """Who may do what: check and test the files, ask them, put them in force."""


for command in COMMANDS:
    policy.add_command(command)
policy.add_command(simulate)
policy.add_command(unused)
policy.add_command(suggest)


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
@proving
@AT
@click.option("--draft", is_flag=True, help="Ask the files as they are, not the policy in force.")
@common
def explain(on: Invocation, agent: str, object_: str, **given: Any) -> None:
    """Why AGENT may or may not do that to OBJECT, with every rule that matches or nearly does.

    AGENT may be ISSUER/SUBJECT: whoever comes with a token of that issuer, and the roles and scopes
    that you say it has.
    """
    told, said = _told(on, agent, object_, **given)
    on.screen.whole(told)
    if told["stopped"]:  # first, for no rule is to blame
        on.screen.line(f"stopped: {told['stopped']}", RED)
    on.screen.text(said)


@policy.command("can-i")
@click.argument("agent")
@click.argument("object_", metavar="OBJECT", required=False)
@click.option("--list", "listed", is_flag=True, help="Everything the agent may see.")
@click.option("--act", default="")
@click.option("--arguments", default="{}", help="JSON, for conditions on arguments.")
@proving
@AT
@click.option("--draft", is_flag=True, help="Ask the files as they are, not the policy in force.")
@common
def can_i(
    on: Invocation,
    agent: str,
    object_: str | None,
    listed: bool,
    **given: Any,
) -> None:
    """Whether AGENT may: `yes` and exit 0, or `no` and exit 1. Rates and budgets are not asked.

    What has to be approved first is no `yes`, either: exit 1. AGENT may be ISSUER/SUBJECT, with the roles and scopes of its token.
    """
    if listed:
        _list_visible(on, agent, given)
        return
    if object_ is None:
        raise usage("OBJECT is missing", "say what it would act on, or --list")
    told, _ = _told(on, agent, object_, **given)
    if on.screen.as_json:
        on.screen.value(told)
    else:
        waits = told["verdict"] == "needs" and not told["stopped"]
        no = "not before it is approved" if waits else "no"
        on.screen.line("yes" if told["allowed"] else no, GREEN if told["allowed"] else RED)
        on.screen.note(f"by: {told['stopped'] or told['by']}")
        if told["fix"] and not told["stopped"]:
            on.screen.note(f"fix: {told['fix']}")
    end(Exit.YES if told["allowed"] else Exit.NO)


@policy.command("who-can")
@click.argument("object_", metavar="OBJECT")
@click.option("--act", default="", help="Default: the usual one, such as call for tools.")
@AT
@click.option("--draft", is_flag=True, help="Ask the files as they are, not the policy in force.")
@common
def who_can(on: Invocation, object_: str, act: str, draft: bool, at: str) -> None:
    """Every agent that may do that to OBJECT, or may under conditions. Exit 1: nobody."""
    from gateway.app.operations.comparing import who_can as able_agents

    house = on.reading()
    snapshot = _snapshot(on, house, draft=draft, at=at)
    able, stopped = able_agents(house, snapshot, object_, act)
    if on.screen.as_json:
        on.screen.value([one.as_json() for one in able])
    else:
        rows = [(one.agent, one.tenant, one.answer, one.by) for one in able]
        on.screen.table(("AGENT", "TENANT", "MAY", "BY"), rows)
        if not able:
            on.screen.note(f"nobody: {stopped or 'no rule allows it to an agent there is'}")
    end(Exit.YES if able else Exit.NO)


@policy.command("diff")
@FOLDER
@AT
@common
def diff(on: Invocation, folder: Path | None, at: str) -> None:
    """What would change if FOLDER (default: the policy folder) were put in force. Exit 1: something.

    With --at, compared with the policy that was in force then.
    """
    from gateway.policy import files
    from gateway.policy.load import compile as compile_policy

    house = on.reading()
    before = _snapshot(on, house, draft=False, at=at)
    source = files.read(_folder(on, folder))
    after = compile_policy(source, house.identity.bindings())
    end(Exit.NO if show_differences(on, house, before, after) else Exit.YES)


@policy.command("apply")
@common
def apply(on: Invocation) -> None:
    """Put the policy folder in force: all of it or nothing, an entry in the log.

    With two_person_policy it is only proposed: see `policy approve`.
    """
    if on.remote is None:
        _folder(on, None)
    before = _version(on)
    done = on.change("policy.apply")
    on.screen.whole(done)
    is_new = done["changed"] if before is None else done["version"] != before
    if done.get("proposed") or is_new:
        say_in_force(on, done)
    else:
        on.screen.line(f"policy {done['version'][:SHOWN]} was in force already", BOLD)
    for warning in done["warnings"]:
        on.screen.note(warning)
    if not done["cases"]:
        on.screen.note("a policy without cases can be broken unnoticed: write some in cases/")


def _version(on: Invocation) -> str | None:
    """What is in force; None of a gateway elsewhere, which says itself whether that changes.

    A house that is opened for the command cannot say: it takes the folder up as it opens.
    """
    from gateway.store.trail import NoLog, NotReadableHere

    if on.remote is not None:
        return None
    try:
        with on.trail() as trail:
            return trail.policy_version()
    except (NoLog, NotReadableHere):
        return ""  # the operation itself says what is wrong


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


def _told(on: Invocation, agent: str, object_: str, **given: Any) -> tuple[dict[str, Any], str]:
    """The answer to a question, and the same in a few lines."""
    if on.remote is None:
        answer = _asked(on, agent, object_, **given)
        return answer.as_json(), answer.say()
    if given["proved"] != NOTHING or "/" in agent:
        raise usage(
            "only agents are asked about from elsewhere",
            "ask about tokens on the gateway's own machine",
        )
    if given["draft"] or given["at"] or given["arguments"] == "-":
        raise usage(
            "only the policy in force is asked from elsewhere", "say it without that option"
        )
    asked = {"act": given["act"], "arguments": given["arguments"]}
    told = on.remote.look("policy.explain", agent=agent, object=object_, **asked)
    said = told.pop("said")
    return told, said or f"{told['verdict']}  by: {told['by']}"


def _asked(on: Invocation, agent: str, object_: str, **given: Any) -> Answer:
    from gateway.app.operations.asking import Proved, Question, ask, in_full

    arguments = sys.stdin.read() if given["arguments"] == "-" else given["arguments"]
    house = on.reading()
    proved, at_us = Proved(*given["proved"]), _at_us(given["at"])
    named = in_full(house, object_)
    question = Question(agent, named, given["act"], arguments, at_us, proved)
    return ask(house, _snapshot(on, house, draft=given["draft"], at=given["at"]), question)


def _at_us(at: str) -> int:
    from gateway.app.operations.query import moment

    now = now_us()
    return moment(at, now)[0] if at else now


def _snapshot(on: Invocation, house: Reading, *, draft: bool, at: str) -> Snapshot:
    """The policy in force at that time; before a gateway ever ran, or as a draft, the files."""
    from gateway.app.operations.reading import policy_in_force
    from gateway.app.operations.versions import snapshot_at
    from gateway.policy import files
    from gateway.policy.load import compile as compile_policy
    from gateway.policy.snapshot import builtin_deny_all

    if house.database is not None and not draft:
        with on.trail() as trail:
            return snapshot_at(trail, _at_us(at)) if at else policy_in_force(trail)
    if not on.config.policies.is_dir():
        return builtin_deny_all()
    return compile_policy(files.read(on.config.policies), house.identity.bindings())


def _list_visible(on: Invocation, agent: str, given: Mapping[str, Any]) -> None:
    from gateway.app.operations.asking import Proved, visible

    house = on.reading()
    snapshot = _snapshot(on, house, draft=given["draft"], at=given["at"])
    seen = visible(house, snapshot, agent, Proved(*given["proved"]))
    if on.screen.as_json:
        on.screen.value([{"object": d.object, "wire_name": d.wire_name} for d in seen])
    else:
        on.screen.table(("OBJECT", "ON /mcp"), [(d.object, d.wire_name) for d in seen])
    end(Exit.YES if seen else Exit.NO)

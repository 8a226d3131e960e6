"""The scenes in which several have a hand: rights handed on, a person's yes, and the bill of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from agents.apps.demo.bots import TEXT, OpsBot, ReportBot, one_line
from agents.apps.demo.command import customhouse
from agents.apps.demo.stage import REPEATS, Stage
from agents.apps.demo.story import BrokenPromise, Story, promise, written
from agents.client import connect
from agents.models import Models, Said
from agents.tokens import Applicant, Token, TokenRefused

COUNTING, HANDED_CALLS = "tool/desk/word_count", 2
ORDER = {"order": "A-17"}
RUN = "the-broken-lamp"
NEWS = "The lamp of order A-17 came broken, and was sent once more."


async def handed_on(stage: Stage, story: Story) -> None:
    story.scene("Rights are handed on, and only get narrower: report-bot works for ops-bot")
    ops, report = (Applicant(stage.url, n, stage.keys[n]) for n in ("ops-bot", "report-bot"))
    own = await ops.own_token(scope=("tool/desk/*",), budget={"calls": 10})
    token = await report.token_from(own, scope=(COUNTING,), budget={"calls": HANDED_CALLS})
    story.say(
        f"ops-bot has a token made out: {own.scope[0]}, 10 calls. report-bot exchanges it (RFC "
        f"8693) for one of its own, to act for ops-bot: {token.scope[0]}, {HANDED_CALLS} calls."
    )
    await _no_wider(report, own, story)
    async with connect(f"{stage.url}/mcp", token.secret) as border:
        bot = ReportBot("report-bot", "for ops-bot", border, story)
        promise(await bot.tools() == {"desk_word_count"}, "the token shows other tools, too")
        first = await bot.gets("desk_word_count", {"text": TEXT}, one_line)
        await bot.is_refused("desk_slow_report", {"topic": "lamps"}, "unknown_object")
        passed, refusal = await bot.counts_until_refused(HANDED_CALLS + 1)
    promise(passed == HANDED_CALLS - 1, f"{passed + 1} calls passed on a budget of {HANDED_CALLS}")
    promise(refusal.machine.get("scope") == "grant", f"it was not the token's: {refusal.sentence}")
    story.say(
        "Both may write reports, but not on this token. What is called with it is charged to both "
        "tokens and to ops-bot, and its entry names everybody:"
    )
    entry = await _entry(stage, first.call_id)
    promise(len(entry["chain"]) == 2, f"the chain of its entry is {entry['chain']}")
    promise((entry["agent"], entry["actors"]) == ("ops-bot", ["report-bot"]), f"it was {entry}")
    story.show(f"$ customhouse audit show {first.call_id}")
    for name in ("agent", "actors", "credential", "chain"):
        story.show(f"  {name}: {_listed(entry[name])}")


async def _no_wider(report: Applicant, own: Token, story: Story) -> None:
    """Ask for more than the token has: in objects, and in calls."""
    for words, scope, budget in (
        ('scope="tool/git/*"', ("tool/git/*",), None),
        ('budget={"calls": 1000}', (COUNTING,), {"calls": 1000}),
    ):
        try:
            await report.token_from(own, scope=scope, budget=budget)
        except TokenRefused as err:
            promise(err.error == "invalid_scope", f"a wider token was refused as {err.error}")
            story.no("report-bot", f"POST /oauth/token {words}", err.error, err.sentence)
        else:
            raise BrokenPromise(f"a wider token was given out: {words}")


async def approved(stage: Stage, story: Story, ops: OpsBot) -> None:
    story.scene("Some calls wait for a person, who approves just this one")
    asked = await _waits(ops, story)
    shown = await _told(stage, story, "approval", "show", asked)
    promise("A-17" in shown, "whoever approves does not see the arguments")
    await _told(stage, story, "approval", "approve", asked, "--yes", "--reason", "it came broken")
    result = await ops.gets("desk_send_again", ORDER, one_line)
    promise(result.structured == {**ORDER, "parcel": 1}, f"it was sent more than once: {result}")
    again = await _waits(ops, story)
    promise(again != asked, "an approval was used twice")
    story.say(
        "The approval was for this agent, this tool as it is now, and these arguments. The call "
        "used it up, in the same commit; the next one waits again. ada, who has the role "
        "`approver`, could say yes from elsewhere; ops-bot never, for nobody approves for himself."
    )


async def _waits(ops: OpsBot, story: Story) -> str:
    refusal = await ops.fails_to_get("desk_send_again", ORDER, "approval_needed")
    asked, role = (str(refusal.machine.get(key)) for key in ("approval", "roles"))
    promise(role == "approver", f"it waits for {role}")
    seconds = refusal.machine.get("expires_in_s")
    answer = f"Approval {asked}: somebody with the role {role}, within {seconds} s."
    story.no(ops.name, written("desk_send_again", ORDER), refusal.code, answer)
    return asked


async def one_bill(stage: Stage, story: Story, report: ReportBot, ops: OpsBot) -> None:
    story.scene("A run is one bill, whoever calls, tools and models alike")
    news = await Models(stage.url, stage.keys[report.name]).ask("scribe", NEWS, run=RUN)
    promise(news.pieces > 1 and news.run == RUN, f"not streamed, or in another run: {news}")
    _show_answer(story, report, news)
    await ops.refunds("A-17", 5, RUN)
    passed, refusal = await report.counts_until_refused(REPEATS + 1, RUN)
    promise(refusal.code == "loop" and passed == REPEATS, f"{passed} passed, then {refusal.code}")
    await _told(stage, story, "run", "stop", RUN, "--reason", "it turns in circles")
    arguments = {"order": "A-17", "amount": 6}
    await ops.is_refused("desk_refund", arguments, "run_stopped", RUN)
    story.say("No agent has the key of the model's provider; the gateway adds it. The bill:")
    await _told(stage, story, "run", "show", RUN)
    _check_bill(await _as_json(stage, "run", "show", RUN))


def _show_answer(story: Story, report: ReportBot, news: Said) -> None:
    what = f'model scribe("{NEWS}")'
    story.yes(report.name, what, f"{news.text}   ({news.pieces} pieces, as they came)")


def _check_bill(bill: Mapping[str, Any]) -> None:
    steps = bill["steps"]
    promise(bill["agents"] == ["ops-bot", "report-bot"], f"the bill is of {bill['agents']}")
    promise(bill["stopped"], "the run goes on")
    promise((bill["calls"], bill["refused"]) == (REPEATS + 2, 2), f"it has {bill['calls']} calls")
    for meter in ("tokens", "cost"):
        promise(bill[meter] == sum(step[meter] for step in steps), f"{meter} do not add up")
    model = [step for step in steps if step["object"] == "model/scribe"]
    promise(len(model) == 1 and model[0]["cost"] > 0, "the model is not on the bill")


async def _entry(stage: Stage, call_id: str) -> Mapping[str, Any]:
    said = await _as_json(stage, "audit", "show", call_id)
    entry: Mapping[str, Any] = said["entries"][0]
    return entry


async def _as_json(stage: Stage, *arguments: str) -> Any:
    done = await customhouse(stage, *arguments, "--json")
    promise(done.code == 0, f"{' '.join(arguments)} ended with {done.code}: {done.err}")
    return json.loads(done.out)


async def _told(stage: Stage, story: Story, *arguments: str) -> str:
    """Run a command that must succeed, and show it with what it says."""
    done = await customhouse(stage, *arguments)
    promise(done.code == 0, f"{' '.join(arguments)} ended with {done.code}: {done.err}")
    story.show("$ customhouse " + " ".join(_quoted(word) for word in arguments))
    for line in _in_columns(done.out):
        story.show(line)
    return done.out


def _in_columns(text: str) -> list[str]:
    """What a command writes with tabs, as on a terminal."""
    rows = [line.split("\t") for line in text.splitlines()]
    cells = [row for row in rows if len(row) > 1]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        if row in cells
        else row[0]
        for row in rows
    ]


def _quoted(word: str) -> str:
    return f'"{word}"' if " " in word else word


def _listed(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)

"""The scenes with the agents, in order. Each says what it shows, shows it, and checks it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio

from agents.apps.demo import together
from agents.apps.demo.bots import Bot, DevBot, OpsBot, ReportBot
from agents.apps.demo.command import customhouse
from agents.apps.demo.stage import RATE, TOKENS, Stage
from agents.apps.demo.story import Story, promise
from agents.apps.demo.tampering import copy_database
from agents.client import connect

WAY_TOO_MANY = 60
ROUNDING_S = 0.05
QUARTER = 250_000

READS = frozenset({"git_git_status", "git_git_log", "git_git_show", "git_git_diff",
                   "git_git_diff_staged", "git_git_diff_unstaged"})  # fmt: skip
TIME = frozenset({"time_get_current_time", "time_convert_time"})
WRITES = frozenset({"git_git_add", "git_git_branch", "git_git_checkout", "git_git_commit",
                    "git_git_create_branch"})  # fmt: skip
DESK = frozenset({"desk_word_count", "desk_slow_report"})
SIGHT = {
    "report-bot": TIME | READS | DESK,
    "dev-bot": TIME | READS | WRITES,
    "ops-bot": TIME | READS | DESK | {"desk_refund", "desk_send_again"},
}


@dataclass(frozen=True, slots=True)
class Cast:
    """Everybody who plays."""

    report: ReportBot
    dev: DevBot
    ops: OpsBot

    @property
    def all(self) -> tuple[Bot, ...]:
        return self.report, self.dev, self.ops


@dataclass(frozen=True, slots=True)
class Played:
    """What the log is asked about afterwards."""

    refund: str  # ids of calls
    unseen: tuple[str, str, str]
    earlier: Path  # a copy of the database as it was in between


@asynccontextmanager
async def assembled(stage: Stage, story: Story) -> AsyncIterator[Cast]:
    """The three agents, each connected with its own key."""
    url = f"{stage.url}/mcp"
    async with AsyncExitStack() as open_connections:
        borders = {
            agent: await open_connections.enter_async_context(connect(url, key))
            for agent, key in stage.keys.items()
        }
        yield Cast(
            ReportBot("report-bot", "analyst", borders["report-bot"], story),
            DevBot("dev-bot", "developer", borders["dev-bot"], story, stage.repository),
            OpsBot("ops-bot", "operator", borders["ops-bot"], story),
        )


async def a_person_approves(stage: Stage, story: Story, cast: Cast) -> None:
    story.scene("A person looks at what is new")
    story.say(
        "The servers `time` and `git` are taken as they were first seen. `desk` is not: what it "
        "offers is proposed, and no agent sees it, until somebody has read it."
    )
    for bot in cast.all:
        seen = await bot.tools()
        promise(not any(name.startswith("desk") for name in seen), f"{bot.name} sees desk tools")
    command = ("server", "approve", "desk", "--yes", "--reason", "read for the demo")
    story.show(f"$ customhouse {' '.join(command[:4])}")
    done = await customhouse(stage, *command)
    promise(done.code == 0, f"approving ended with {done.code}: {done.err}")
    story.show(done.out.strip().splitlines()[-1])


async def who_sees_what(story: Story, cast: Cast) -> None:
    story.scene("Each agent sees the tools of its role, and no others")
    for bot in cast.all:
        seen = await bot.tools()
        expected = SIGHT[bot.name]
        promise(seen == expected, f"{bot.name} sees {sorted(seen)}, not {sorted(expected)}")
        story.lists(bot.name, [f"({bot.role}) {len(seen)} tools", *sorted(seen)])
    story.say(
        "git_reset is in nobody's list, although developers have a rule for it: the platform team "
        "tagged it `destructive`, and a deny overrides every allow."
    )


async def allowed(story: Story, cast: Cast) -> str:
    story.scene("Allowed calls reach real servers")
    await cast.report.asks_the_time()
    await cast.report.counts_words()
    await cast.dev.reads_the_history()
    await cast.dev.branches("work/lamp")
    result = await cast.ops.refunds("A-17", 40)
    left = result.left.get("cost/day")
    promise(left == 4 * QUARTER - QUARTER, f"{left} of the cost budget are left")
    story.say(f"Each answer says what is left of the agent's budget, here: {_counts(result.left)}.")
    return result.call_id


async def denied(story: Story, cast: Cast) -> tuple[str, str, str]:
    story.scene("What an agent may not use does not exist for it")
    forbidden = await cast.report.is_refused(
        "git_git_commit", {"repo_path": ".", "message": "mine"}, "unknown_object"
    )
    unknown = await cast.report.is_refused("git_git_comit", {"message": "mine"}, "unknown_object")
    railed = await cast.dev.may_not_reset()
    for one in (unknown, railed):
        same = one.sentence == forbidden.sentence and one.machine.keys() == forbidden.machine.keys()
        promise(same, "a forbidden tool can be told from an unknown one")
    story.say(
        "The first exists and is forbidden, the second does not exist, the third is behind the "
        "guard rail. Agents get one and the same answer; the log knows the difference."
    )
    return forbidden.call_id, unknown.call_id, railed.call_id


async def denied_by_condition(story: Story, cast: Cast) -> None:
    story.scene("Conditions look at the arguments")
    refusal = await cast.ops.may_not_refund("A-18", 180)
    unmet = refusal.machine.get("condition")
    promise(unmet == "small_refund", f"the unmet condition is said to be {unmet}")
    await cast.dev.may_not_branch("release/1.0")
    story.say("Both tools are in the lists of these agents, so the border may say why.")


async def rate_limited(story: Story, cast: Cast) -> None:
    story.scene(f"Rates: report-bot may call {RATE}")
    passed, refusal = await cast.report.counts_until_refused(WAY_TOO_MANY)
    promise(refusal.code == "rate_limited", f"it was refused as {refusal.code}")
    wait_s = refusal.retry_after_ms / 1000
    promise(0 < wait_s <= 3, f"it is to wait {wait_s} s at {RATE}")
    began_s = time.monotonic()
    await anyio.sleep(wait_s + ROUNDING_S)
    await cast.report.counts_words()
    waited_s = time.monotonic() - began_s
    story.say(
        f"{passed} calls passed in a row. The refusal says exactly how long to wait: after "
        f"{waited_s:.1f} s the next one passes."
    )


async def over_budget(story: Story, cast: Cast) -> None:
    story.scene(f"Budgets: dev-bot has {TOKENS.replace('/', ' tokens a ')}")
    left, refusal = await cast.dev.shows_until_refused(WAY_TOO_MANY)
    promise(refusal.code == "over_budget", f"it was refused as {refusal.code}")
    promise(left == sorted(left, reverse=True) and left[-1] > 0, f"the budget went {left}")
    story.say(
        f"Left after each call: {', '.join(map(str, left))}. The border holds the largest "
        f"answer that may come ({refusal.machine.get('needed')} tokens with the arguments), and "
        "charges what came. So a budget is never overdrawn, not even for a moment."
    )


async def given_up(story: Story, cast: Cast) -> None:
    story.scene("An agent that stops waiting takes its call along")
    await cast.ops.gives_up_on_a_report()
    story.say("The border closed the call at the server, and settled it as cancelled: charged.")


async def play(stage: Stage, story: Story) -> Played:
    """All scenes that need the gateway.

    Raises: BrokenPromise, BorderError: something is not as it was said to be.
    """
    async with assembled(stage, story) as cast:
        await a_person_approves(stage, story, cast)
        await who_sees_what(story, cast)
        refund = await allowed(story, cast)
        unseen = await denied(story, cast)
        await denied_by_condition(story, cast)
        await together.handed_on(stage, story)
        await together.approved(stage, story, cast.ops)
        await together.one_bill(stage, story, cast.report, cast.ops)
        # Read-only, while the gateway writes: for the last scene.
        earlier = stage.folder / "tampered" / "set-back" / "customhouse.db"
        await anyio.to_thread.run_sync(copy_database, stage.database, earlier)
        await rate_limited(story, cast)
        await over_budget(story, cast)
        await given_up(story, cast)
    return Played(refund, unseen, earlier)


def _counts(left: Mapping[str, int]) -> str:
    return ", ".join(f"{amount:,} {name}" for name, amount in left.items())

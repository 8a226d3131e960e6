"""Three agents with three roles. All they have is a connection to the border."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agents.apps.demo.story import BrokenPromise, Story, promise, written
from agents.client import Border, BorderError, DeadlinePassed, RefusedByBorder, Result

CALL_S = 20.0
IMPATIENT_S = 1.5
TEXT = "one border is enough when one border is the only one"
WORDS = 11


@dataclass(slots=True)
class Bot:
    """An agent that tells what it tries, and what came of it."""

    name: str
    role: str
    border: Border
    story: Story

    async def tools(self) -> frozenset[str]:
        return frozenset(tool.name for tool in await self.border.tools(deadline_s=CALL_S))

    async def gets(
        self,
        tool: str,
        arguments: Mapping[str, Any],
        tell: Callable[[Result], str],
        run: str = "",
    ) -> Result:
        """A call that the border lets pass. Raises: BrokenPromise: it did not."""
        try:
            result = await self.asks(tool, arguments, run)
        except BorderError as err:
            raise BrokenPromise(f"{self.name} was to get {tool}, but: {err}") from err
        self.story.yes(self.name, written(tool, arguments), tell(result))
        return result

    async def is_refused(
        self, tool: str, arguments: Mapping[str, Any], code: str, run: str = ""
    ) -> RefusedByBorder:
        """A call that the border refuses with *code*. Raises: BrokenPromise: it did not."""
        refusal = await self.fails_to_get(tool, arguments, code, run)
        self.tell(tool, arguments, refusal)
        return refusal

    async def fails_to_get(
        self, tool: str, arguments: Mapping[str, Any], code: str, run: str = ""
    ) -> RefusedByBorder:
        """The same, of which nothing is told. Raises: BrokenPromise."""
        try:
            await self.asks(tool, arguments, run)
        except RefusedByBorder as refusal:
            promise(refusal.code == code, f"{tool} was refused as {refusal.code} instead of {code}")
            return refusal
        raise BrokenPromise(f"{tool} by {self.name} was to be refused as {code}, but it passed")

    async def asks(self, tool: str, arguments: Mapping[str, Any], run: str = "") -> Result:
        """One call, of which nothing is told. Raises: BorderError, BrokenPromise."""
        result = await self.border.call(tool, arguments, deadline_s=CALL_S, run=run)
        promise(not result.is_error, f"{tool} failed: {result.text}")
        promise(result.call_id, f"the answer of {tool} names no call id")
        return result

    def tell(self, tool: str, arguments: Mapping[str, Any], refusal: RefusedByBorder) -> None:
        self.story.no(self.name, written(tool, arguments), refusal.code, refusal.sentence)


@dataclass(slots=True)
class ReportBot(Bot):
    """An analyst: asks the time, and counts words."""

    async def asks_the_time(self) -> None:
        await self.gets("time_get_current_time", {"timezone": "Europe/Vienna"}, one_line)

    async def counts_words(self) -> None:
        result = await self.gets("desk_word_count", {"text": TEXT}, one_line)
        promise(result.structured["words"] == WORDS, f"the words were counted as {result.text}")

    async def counts_until_refused(
        self, most_calls: int, run: str = ""
    ) -> tuple[int, RefusedByBorder]:
        """Count words again and again; how often that went well, and what ended it."""
        for passed in range(most_calls):
            try:
                await self.asks("desk_word_count", {"text": TEXT}, run)
            except RefusedByBorder as refusal:
                self.tell("desk_word_count", {"text": TEXT}, refusal)
                return passed, refusal
        raise BrokenPromise(f"{most_calls} calls in a row were let pass")


@dataclass(slots=True)
class DevBot(Bot):
    """A developer: reads the repository, and works on branches of its own."""

    repository: Path = field(default_factory=Path)

    async def reads_the_history(self) -> None:
        arguments = {"repo_path": str(self.repository), "max_count": 3}
        result = await self.gets("git_git_log", arguments, one_line)
        promise("Begin the shop" in result.text, "the history does not begin where it began")

    async def branches(self, name: str) -> None:
        arguments = {"repo_path": str(self.repository), "branch_name": name}
        await self.gets("git_git_create_branch", arguments, one_line)

    async def may_not_branch(self, name: str) -> None:
        arguments = {"repo_path": str(self.repository), "branch_name": name}
        await self.is_refused("git_git_create_branch", arguments, "denied")

    async def may_not_reset(self) -> RefusedByBorder:
        arguments = {"repo_path": str(self.repository)}
        return await self.is_refused("git_git_reset", arguments, "unknown_object")

    async def shows_until_refused(self, most_calls: int) -> tuple[list[int], RefusedByBorder]:
        """Look at the last commit again and again; tokens left after each, and what ended it."""
        arguments = {"repo_path": str(self.repository), "revision": "HEAD"}
        left: list[int] = []
        for _ in range(most_calls):
            try:
                result = await self.asks("git_git_show", arguments)
            except RefusedByBorder as refusal:
                self.tell("git_git_show", arguments, refusal)
                return left, refusal
            left.append(result.left["tokens/day"])
        raise BrokenPromise(f"{most_calls} calls were let pass on a budget for fewer")


@dataclass(slots=True)
class OpsBot(Bot):
    """An operator: pays small amounts back, and asks for reports it does not wait for."""

    async def refunds(self, order: str, amount: float, run: str = "") -> Result:
        arguments = {"order": order, "amount": amount}
        return await self.gets("desk_refund", arguments, one_line, run)

    async def may_not_refund(self, order: str, amount: float) -> RefusedByBorder:
        return await self.is_refused("desk_refund", {"order": order, "amount": amount}, "denied")

    async def gives_up_on_a_report(self) -> None:
        """Ask for what takes longer than one cares to wait. Raises: BrokenPromise."""
        arguments = {"topic": "parcels", "seconds": 30}
        try:
            await self.border.call("desk_slow_report", arguments, deadline_s=IMPATIENT_S)
        except DeadlinePassed as passed:
            self.story.left(self.name, written("desk_slow_report", arguments), str(passed))
            return
        raise BrokenPromise(f"a report of 30 s was there within {IMPATIENT_S:g} s")


def one_line(result: Result) -> str:
    return " ".join(result.text.split())

"""Calls to a server that is a child process: either era, many at once, all the ways to misbehave."""

import asyncio
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from gateway.domain.model import Call, Outcome, Status
from gateway.upstream.exchange import Interrupted
from gateway.upstream.message import UpstreamFailed
from gateway.upstream.spec import ServerSpec, StdioTransport
from tests.fakes import Border, Collected, border, eventually, gone, make_call

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

LINES = str(Path(__file__).parents[1] / "servers" / "lines.py")
ERAS = pytest.mark.parametrize("era", ["modern", "legacy"])


def stdio(*words: str, env: dict[str, str] | None = None, **bounds: Any) -> ServerSpec:
    transport = StdioTransport((sys.executable, "-S", LINES, *words), env=env or {})
    return ServerSpec("fake", transport, **{"timeout_s": 10.0, **bounds})


def tool(name: str, *, token: object = None, **arguments: Any) -> Call:
    meta = {"progressToken": token} if token is not None else {}
    return make_call(name=name, arguments=arguments, meta=meta)


def said(outcome: Outcome) -> Any:
    assert outcome.status is Status.OK, outcome
    return json.loads(json.loads(outcome.result)["content"][0]["text"])


def starts(house: Border) -> int:
    return int(house.upstreams.health()["fake"].connector["starts"])


@ERAS
async def test_a_call_is_answered_in_either_era(era: str) -> None:
    async with border(stdio(era)) as house:
        outcome = await house.call(tool("echo", text="a\nb"))
    assert said(outcome)["arguments"] == {"text": "a\nb"}
    assert json.loads(outcome.result)["vendor"] == 1
    meta = said(outcome)["_meta"]
    if era == "legacy":
        assert meta is None
    else:
        assert meta["io.modelcontextprotocol/protocolVersion"] == "2026-07-28"


async def test_line_breaks_between_the_tokens_of_arguments_stay_one_message() -> None:
    call = replace(tool("echo"), params={"name": b'"echo"', "arguments": b'{\n"a":\r\n1\n}'})
    async with border(stdio("legacy")) as house:
        assert said(await house.call(call))["arguments"] == {"a": 1}


@ERAS
async def test_two_hundred_calls_at_once_each_get_their_own_answer(era: str) -> None:
    async with border(stdio(era)) as house:
        keys = [f"k{n}" for n in range(200)]
        calls = [asyncio.create_task(house.call(tool("wait", key=key))) for key in keys]
        await eventually(lambda: house.upstreams.health()["fake"].in_flight == 200)
        await eventually(lambda: starts(house) == 1)
        await house.call(tool("echo"))  # all the others have been read by then
        await house.call(tool("release", keys=keys[::-1]))
        assert [said(await call) for call in calls] == keys
        assert starts(house) == 1


@ERAS
async def test_progress_reaches_only_the_call_it_belongs_to(era: str) -> None:
    async with border(stdio(era)) as house:
        relays = [Collected(), Collected(), Collected()]
        calls = [tool("progress", token="same", n=3), tool("progress", token="same", n=5)]
        calls.append(tool("progress", n=4))  # has no token: gets no progress
        await asyncio.gather(
            *[house.call(call, relay=relay) for call, relay in zip(calls, relays, strict=True)]
        )
    steps = [[frame["params"]["progress"] for frame in relay.frames] for relay in relays]
    assert steps == [[0, 1, 2], [0, 1, 2, 3, 4], []]
    assert all(f["params"]["progressToken"] == "same" for r in relays for f in r.frames)


async def test_progress_for_a_call_that_is_over_goes_nowhere() -> None:
    async with border(stdio("modern")) as house:
        relay = Collected()
        for other in (1, 2, 3, "x", None, [1]):
            call = tool("foreign progress", token="mine", of=other)
            assert said(await house.call(call, relay=relay)) == "done"
    assert relay.frames == []


@ERAS
async def test_a_cancelled_call_is_cancelled_at_the_server(era: str) -> None:
    async with border(stdio(era)) as house:
        await house.call(tool("echo"))
        task = asyncio.create_task(house.call(tool("wait", key="k")))
        await eventually(lambda: house.upstreams.health()["fake"].in_flight == 1)
        await house.call(tool("echo"))
        task.cancel()
        with pytest.raises(Interrupted) as left:
            await task
        assert left.value.outcome.status is Status.CANCELLED
        assert len(said(await house.call(tool("cancelled")))) == 1
        await house.call(tool("release", keys=["k"]))  # too late, and no offence
        assert house.upstreams.health()["fake"].connector["dropped"] == 0


async def test_a_call_that_takes_too_long_is_a_timeout_and_the_server_lives_on() -> None:
    async with border(stdio("modern", timeout_s=0.3)) as house:
        await house.upstreams.list_definitions("fake")
        assert (await house.call(tool("wait", key="k"))).code == "upstream_timeout"
        assert len(said(await house.call(tool("cancelled")))) == 1
        assert starts(house) == 1


async def test_cancelling_while_the_server_starts_sends_nothing() -> None:
    async with border(stdio("mute", start_timeout_s=30.0)) as house:
        task = asyncio.create_task(house.call())
        await eventually(lambda: house.upstreams.health()["fake"].in_flight == 1)
        task.cancel()
        with pytest.raises(Interrupted) as left:
            await task
    assert left.value.outcome.status is Status.NOT_SENT


@pytest.mark.parametrize("how", ["die", "close output"])
async def test_when_the_child_ends_every_call_in_flight_fails_at_once(how: str) -> None:
    async with border(stdio("modern")) as house:
        await house.call(tool("echo"))
        calls = [asyncio.create_task(house.call(tool("wait", key=str(n)))) for n in range(5)]
        await eventually(lambda: house.upstreams.health()["fake"].in_flight == 5)
        with anyio.fail_after(1):
            ended = [await house.call(tool(how)), *[await call for call in calls]]
        assert {(o.status, o.code) for o in ended} == {(Status.FAILED, "upstream_died")}
        with anyio.fail_after(8):
            assert (await house.call(tool("echo"))).status is Status.OK
        assert starts(house) == 2


async def test_a_child_that_keeps_ending_is_left_alone_for_longer_each_time() -> None:
    async with border(stdio("dies", breaker_failures=1000)) as house:
        with anyio.fail_after(10):
            outcomes = [await house.call() for _ in range(30)]
        pauses = [entry["pause_s"] for entry in house.events("upstream_ended")]
    assert {outcome.status for outcome in outcomes} == {Status.FAILED}
    assert len(pauses) < 10
    assert pauses == sorted(pauses)
    assert pauses[-1] > 0
    lines = [entry["line"] for entry in house.events("upstream_stderr")]
    assert "cannot read my configuration" in lines


async def test_a_command_that_does_not_exist_is_unreachable_or_died() -> None:
    spec = ServerSpec("fake", StdioTransport(("/nowhere/at-all",)), timeout_s=5.0)
    async with border(spec) as house:
        with anyio.fail_after(5):
            assert (await house.call()).status is Status.FAILED
        await eventually(lambda: bool(house.events("upstream_stderr")))
        assert "cannot start /nowhere/at-all" in house.events("upstream_stderr")[0]["line"]


async def test_a_folder_that_does_not_exist_is_unreachable() -> None:
    spec = ServerSpec("fake", StdioTransport(("true",), cwd="/nowhere"), timeout_s=5.0)
    async with border(spec) as house:
        assert (await house.call()).code == "upstream_unreachable"


async def test_a_server_that_dies_of_the_probe_is_started_again_and_initialized() -> None:
    async with border(stdio("dies-at-probe")) as house:
        assert said(await house.call(tool("echo")))["arguments"] == {}
        assert house.upstreams.health()["fake"].connector["era"] == "legacy"


async def test_a_server_that_is_silent_to_the_probe_is_initialized(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.upstream.stdio.PROBE_S", 0.1)
    async with border(stdio("silent")) as house:
        assert said(await house.call(tool("echo")))["arguments"] == {}


async def test_a_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.upstream.stdio.PROBE_S", 0.1)
    async with border(stdio("mute", start_timeout_s=0.5)) as house:
        with anyio.fail_after(5):
            assert (await house.call()).status is Status.FAILED


async def test_answers_that_nobody_asked_for_are_dropped_and_counted() -> None:
    async with border(stdio("modern")) as house:
        assert said(await house.call(tool("wrong id"))) == "right"
        assert house.upstreams.health()["fake"].connector["dropped"] == 2


async def test_noise_on_stdout_is_ignored_up_to_a_bound() -> None:
    async with border(stdio("modern")) as house:
        assert said(await house.call(tool("noise", n=90))) == "after noise"
        assert (await house.call(tool("noise", n=101))).code == "upstream_broken"
        await eventually(lambda: bool(house.events("upstream_ended")))


async def test_a_line_without_end_kills_the_child_that_writes_it() -> None:
    async with border(stdio("modern", max_result_bytes=100_000)) as house:
        with anyio.fail_after(5):
            outcome = await house.call(tool("long line", n=1_000_000_000))
        assert outcome.code == "upstream_died"
        assert "more than" in house.events("upstream_failed")[0]["why"]


async def test_a_result_above_the_ceiling_is_withheld_and_the_child_lives_on() -> None:
    async with border(stdio("modern")) as house:
        assert (await house.call(tool("big", n=500_000))).status is Status.TOO_LARGE
        assert (await house.call(tool("big", n=1_000))).status is Status.OK
        assert starts(house) == 1


async def test_stderr_is_bounded_escaped_and_without_secrets() -> None:
    spec = stdio("modern", env={"API_KEY": "topsecret-value"})
    async with border(spec) as house:
        await house.call(tool("stderr", line="\x1b[31mred\r\nkey topsecret-value\n"))
        await house.call(tool("stderr", line="x" * 100_000))
        await house.call(tool("stderr", line="line\n", n=100_000))
        lines = [entry["line"] for entry in house.events("upstream_stderr")]
    assert lines[0] == "\\x1b[31mred"
    assert lines[1] == "key [secret]"
    assert len(lines) <= 50
    assert all(len(line) <= 500 and line.isascii() and line.isprintable() for line in lines)
    assert house.events("upstream_stderr_cut")


@pytest.mark.parametrize(
    ("method", "reply"),
    [
        ("ping", {}),
        ("sampling/createMessage", -32601),
        ("elicitation/create", -32601),
        ("roots/list", -32601),
        ("made/up", -32601),
    ],
)
@ERAS
async def test_the_server_may_ping_and_nothing_else(era: str, method: str, reply: Any) -> None:
    async with border(stdio(era)) as house:
        answer = said(await house.call(tool("ask", method=method)))
    assert answer == reply or answer["code"] == reply


@ERAS
async def test_changed_lists_are_told_once_per_breath(era: str) -> None:
    told: list[str] = []
    async with border(stdio(era)) as house:
        house.upstreams.on_list_changed(told.append)
        listens = said(await house.call(tool("change", n=50)))
        assert listens == (1 if era == "modern" else 0)
        await eventually(lambda: bool(told))
    assert told == ["fake"]


async def test_a_server_that_was_started_again_is_looked_at_again() -> None:
    told: list[str] = []
    async with border(stdio("modern")) as house:
        house.upstreams.on_list_changed(told.append)
        await house.call(tool("die"))
        await house.call(tool("echo"))
        await eventually(lambda: bool(told))
    assert told == ["fake"]


async def test_the_environment_is_an_allow_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_SECRET", "of-the-gateway")
    monkeypatch.setenv("TZ", "UTC")
    async with border(stdio("modern", env={"MINE": "1"})) as house:
        environment = said(await house.call(tool("environment")))
    assert environment["MINE"] == "1"
    assert environment["TZ"] == "UTC"
    assert set(environment) <= {
        "PATH",
        "HOME",
        "LANG",
        "LC_ALL",
        "LC_CTYPE",
        "TMPDIR",
        "TZ",
        "MINE",
    }


async def test_the_child_holds_no_descriptor_of_the_gateway() -> None:
    async with border(stdio("modern")) as house:
        descriptors = said(await house.call(tool("descriptors")))
    assert descriptors in ([0, 1, 2], [0, 1, 2, 3])  # 3: the folder it reads to find out


async def test_a_lost_credential_means_that_nothing_is_started() -> None:
    spec = stdio("modern")
    assert isinstance(spec.transport, StdioTransport)
    spec = replace(spec, transport=replace(spec.transport, auth_missing=True))
    async with border(spec) as house:
        assert (await house.call()).code == "credential_missing"
        with pytest.raises(UpstreamFailed) as failed:
            await house.upstreams.list_definitions("fake")
        assert failed.value.code == "credential_missing"
        assert starts(house) == 0


async def test_stopping_leaves_no_process_behind_however_stubborn() -> None:
    async with border(stdio("modern", "stubborn")) as house:
        pids = said(await house.call(tool("descendants")))
        assert len(pids) == 3
        assert not any(gone(pid) for pid in pids)
    assert all(gone(pid) for pid in pids)


async def test_when_the_child_dies_its_descendants_go_with_it() -> None:
    async with border(stdio("modern", "stubborn")) as house:
        _, near, far = said(await house.call(tool("descendants")))
        assert (await house.call(tool("die"))).code == "upstream_died"
        await eventually(lambda: gone(near) and gone(far))


async def test_removing_a_server_ends_its_child_and_fails_its_calls() -> None:
    async with border(stdio("modern")) as house:
        pids = said(await house.call(tool("descendants")))
        call = asyncio.create_task(house.call(tool("wait", key="k")))
        await eventually(lambda: house.upstreams.health()["fake"].in_flight == 1)
        await house.upstreams.remove("fake")
        assert (await call).code == "upstream_died"
        assert all(gone(pid) for pid in pids)


async def test_after_the_stop_a_call_fails_at_once_and_starts_nothing() -> None:
    async with border(stdio("modern")) as house:
        await house.call(tool("echo"))
        await house.upstreams.stop()
        with anyio.fail_after(1):
            assert (await house.call(tool("echo"))).code == "upstream_unreachable"
        assert starts(house) == 1


async def test_its_definitions_are_listed_with_its_own_words() -> None:
    async with border(stdio("legacy")) as house:
        listing = await house.upstreams.list_definitions("fake")
    assert listing.instructions == "old"
    assert listing.introduction.version == "2025-11-25"
    assert [entry.name for entry in listing.definitions] == ["echo"]

"""The second half: the gateway is gone, and its log has to speak for itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agents.apps.demo.command import Ended, Gateway, customhouse
from agents.apps.demo.scenes import Played
from agents.apps.demo.stage import Stage
from agents.apps.demo.story import Story, promise
from agents.apps.demo.tampering import SET_BACK, TAMPERINGS, Tampering, copy_database, tamper

LOG_INVALID = 3  # exit code


async def stops(gateway: Gateway, story: Story) -> None:
    story.scene("The gateway is told to stop (SIGTERM)")
    code = await gateway.stop()
    promise(code == 0, f"it ended with {code}, see {gateway.stage.gateway_log}")
    story.say("It drained, wrote its last entries, published a last checkpoint, and is gone.")


async def knows_more(stage: Stage, story: Story, played: Played) -> None:
    story.scene("The log knows what the agents were not told")
    said = [await _said_of(stage, call) for call in played.unseen]
    for call, words in zip(played.unseen, said, strict=True):
        story.show(f"$ customhouse audit show {call}     {words}")
    promise(said[0] != said[1], f"the log says the same of both: {said[0]}")
    promise("forbidden" in said[0] and "forbidden" in said[2], f"the log says {said}")
    query = ("audit", "query", "agent:ops-bot", "status:cancelled")
    story.say("And the report that ops-bot did not wait for:")
    done = await _told(stage, story, *query)
    promise("slow_report" in done.out, "the call that was given up is not there")


async def prove(stage: Stage, story: Story, played: Played) -> None:
    story.scene("The log is proved: offline, with the public key")
    done = await _told(stage, story, "audit", "verify")
    promise(done.code == 0 and "root " in done.out, f"the log is not in order: {done.out}")
    story.show("OK")
    file = stage.folder / "refund.proof"
    story.say("One call can be proved alone, to somebody who gets nothing else to see:")
    done = await _told(stage, story, "audit", "prove", played.refund, "--out", str(file))
    promise(done.code == 0, f"no proof was made: {done.err}")
    done = await customhouse(stage, "audit", "verify", "--proof", str(file))
    promise(done.code == 0, f"the proof proves nothing: {done.err}")
    story.show(done.out.splitlines()[0])


async def falsified(stage: Stage, story: Story, played: Played) -> None:
    story.scene("Copies of the log are falsified, and each falsification is found")
    story.say(
        "By somebody who may write the database and removes its guards, but has no signing key. "
        "Each copy is verified against the checkpoint that the gateway left beside its keys."
    )
    for tampering in TAMPERINGS:
        database = stage.folder / "tampered" / tampering.name / "customhouse.db"
        copy_database(stage.database, database)
        tamper(database, tampering)
        await _found_out(stage, story, tampering, database)
    await _found_out(stage, story, SET_BACK, played.earlier)
    story.say(
        "The last copy is whole, and truly signed: it is how the database was a moment ago. Only a "
        "checkpoint that was kept elsewhere shows that. The gateway keeps one beside its keys, and "
        "does not open such a log:"
    )
    await _stays_closed(stage, story, played.earlier.parent)


async def _stays_closed(stage: Stage, story: Story, data_dir: Path) -> None:
    changed = {"CUSTOMHOUSE__DATA_DIR": str(data_dir)}
    done = await customhouse(stage, "serve", environ=changed)
    promise(done.code == LOG_INVALID, f"serving a log that was set back ended with {done.code}")
    story.show(f"$ customhouse serve     {done.err.splitlines()[0]} (exit {done.code})")


async def _found_out(stage: Stage, story: Story, tampering: Tampering, database: Path) -> None:
    report = await _report(stage, database)
    found = {one["code"]: one["sentence"] for one in reversed(report["findings"])}
    promise(not report["clean"], f"{tampering.what}: nobody noticed")
    promise(tampering.found_as in found, f"{tampering.what}: found as {list(found)}")
    story.found(tampering.what, f"found: {', '.join(reversed(found))}")
    story.show(found[tampering.found_as])


async def _report(stage: Stage, database: Path) -> Mapping[str, Any]:
    keys = stage.folder / "keys"
    done = await customhouse(
        stage,
        *("audit", "verify", "--json", "--copy", str(database)),
        *("--vkey", str(keys / "log.vkey"), "--at-least", str(keys / "checkpoint")),
    )
    promise(done.code == 1, f"verifying a falsified copy ended with {done.code}: {done.err}")
    report: Mapping[str, Any] = json.loads(done.out)
    return report


async def _said_of(stage: Stage, call_id: str) -> str:
    done = await customhouse(stage, "audit", "show", call_id, "--json")
    promise(done.code == 0, f"the log does not know call {call_id}: {done.err}")
    row = json.loads(done.out)["entries"][-1]
    return f"{row['code']}, {row['object']}"


async def _told(stage: Stage, story: Story, *arguments: str) -> Ended:
    """Run a command, and show it with what it says."""
    done = await customhouse(stage, *arguments)
    story.show("$ customhouse " + " ".join(arguments))
    for line in done.out.splitlines():
        story.show(line)
    return done

"""python -m agents.apps.demo [--folder ./demo]"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import anyio

from agents.apps.demo import proof, scenes
from agents.apps.demo.command import provided, serving
from agents.apps.demo.stage import NotOurs, Stage, make
from agents.apps.demo.story import BrokenPromise, Story
from agents.apps.demo.together import RUN
from agents.client import BorderError

ALL_S = 60.0
BROKEN, USAGE, CONFLICT, INTERRUPTED = 1, 2, 6, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Play the demo. 0: everything was as promised; 1: it was not; 6: the folder is not ours."""
    parser = argparse.ArgumentParser(
        prog="customhouse demo",
        description="Watch agents call real servers through the border; then the log is proved, "
        "tampered with, and shown to be broken.",
        epilog="exit codes: 0 all as promised, 1 not so, 2 usage, 6 the folder is somebody else's",
    )
    parser.add_argument("--folder", type=Path, default=Path("demo"), help="made afresh (./demo)")
    folder: Path = parser.parse_args(arguments).folder
    try:
        return anyio.run(_played, folder.absolute())
    except KeyboardInterrupt:
        return INTERRUPTED


async def _played(folder: Path) -> int:
    """Play, and stop playing at SIGINT or SIGTERM; either way nothing is left running."""
    code = INTERRUPTED
    async with anyio.create_task_group() as everything:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:

            async def stop_when_told() -> None:
                async for _ in signals:
                    everything.cancel_scope.cancel()

            everything.start_soon(stop_when_told)
            code = await _told(folder)
            everything.cancel_scope.cancel()
    return code


async def _told(folder: Path) -> int:
    try:
        with anyio.fail_after(ALL_S):
            await _demo(folder)
    except NotOurs as err:
        return _failed(f"error: {err}\n  fix: choose another one with --folder", CONFLICT)
    except (BrokenPromise, BorderError) as err:
        return _failed(f"This is not as it should be: {err}", BROKEN)
    except TimeoutError:
        return _failed(f"This is not as it should be: it took more than {ALL_S:g} s", BROKEN)
    return 0


async def _demo(folder: Path) -> None:
    stage, story = make(folder), Story()
    story.scene("A gateway: three servers and a model behind it, three agents in front")
    async with provided(stage), serving(stage) as gateway:
        story.say(f"customhouse serve --config {_short(stage.config)}   ({stage.url}/mcp)")
        played = await scenes.play(stage, story)
        await proof.stops(gateway, story)
    await proof.knows_more(stage, story, played)
    await proof.prove(stage, story, played)
    await proof.falsified(stage, story, played)
    _what_next(stage, story)


def _what_next(stage: Stage, story: Story) -> None:
    folder, program = _short(stage.folder), _short(Path(sys.executable).with_name("customhouse"))
    story.scene("Go on from here")
    story.say("Everything is left as it was played; it is yours until the next run:")
    for line in (
        f"export CUSTOMHOUSE_CONFIG={folder}/customhouse.toml && . {folder}/keys.env",
        f"{program} serve                          the same border again, at {stage.url}/mcp",
        f"{_short(Path(sys.executable))} -m agents.apps.scribe {stage.scribe_port}     "
        "its model, in another terminal",
        f"{program} audit query agent:dev-bot      what dev-bot did",
        f"{program} budget show                    what is left of which budget",
        f"{program} run show {RUN}       the bill of that run",
        f"{program} policy explain dev-bot tool/git/git_reset",
        f"edit {folder}/policies/policy.csv, then: {program} policy test",
    ):
        story.show(line)
    story.say("README.md: connect a client of yours, write a policy, put a server behind it.")


def _short(path: Path) -> str:
    """As one would type it from here."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _failed(sentence: str, code: int) -> int:
    sys.stderr.write(f"\n{sentence}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())

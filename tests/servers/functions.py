"""Functions for the Python connector: what is public is served, and nothing else."""

import asyncio
import os
import sys
import time
from collections.abc import Callable
from json import dumps  # imported, not defined here: not served
from typing import Literal


def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    print("printed, and not part of the protocol")  # noqa: T201 - that is the test
    return a + b


async def shout(text: str, tone: Literal["calm", "loud"] = "loud") -> str:
    """Say it in capitals."""
    await asyncio.sleep(0)
    return text.upper() if tone == "loud" else text


def fail() -> None:
    """Raise."""
    raise ValueError(dumps("as asked"))


def where() -> list[str]:
    """The process and the secret it was given."""
    return [str(os.getpid()), os.environ.get("MODULE_KEY", ""), os.environ.get("OTHER_KEY", "")]


def block(seconds: float) -> str:
    """Block a thread."""
    time.sleep(seconds)
    return "blocked"


def impossible(callback: Callable[[int], object], module: type(sys)) -> None:  # type: ignore[valid-type]
    """Has no schema."""


def _private() -> None:
    """Not served."""


class NotAFunction:
    """Not served."""

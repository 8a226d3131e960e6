"""A front desk as plain Python functions: what the demo puts behind the border beside real servers.

The border serves the module from a child process; names, schemas and descriptions come from what
stands here. Nothing in it knows of MCP, or of the border.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Annotated, TypedDict

from pydantic import Field

__all__ = ["refund", "send_again", "slow_report", "word_count"]

_parcels: Counter[str] = Counter()  # that were sent again, of each order


class WordCount(TypedDict):
    words: int
    most_common: str


class Refund(TypedDict):
    order: str
    refunded: float


def word_count(text: str) -> WordCount:
    """Count the words of a text, and name the most common one."""
    words = Counter(text.lower().split())
    return {"words": words.total(), "most_common": max(words, key=words.__getitem__, default="")}


def refund(order: str, amount: float) -> Refund:
    """Pay the amount of an order back to its customer."""
    return {"order": order, "refunded": amount}


class Parcel(TypedDict):
    order: str
    parcel: int


def send_again(order: str) -> Parcel:
    """Send all of an order once more, free of charge; says how often that was done by now."""
    _parcels[order] += 1
    return {"order": order, "parcel": _parcels[order]}


async def slow_report(topic: str, seconds: Annotated[float, Field(ge=0, le=60)] = 5) -> str:
    """Write a report on a topic, which takes its time."""
    await asyncio.sleep(seconds)
    return f"Nothing new about {topic}."

"""Looking at names, arguments and results: whoever does so stands in the log before they see them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from gateway.app.house import House
from gateway.app.operations.args import Args
from gateway.app.operations.entering import Change, enter, nothing
from gateway.domain.operator import usage

_SUBJECT = re.compile(r"call/[0-9A-Z]{26}|approval/A-[0-9A-Z]{8}|query")


async def read(house: House, author: str, given: Mapping[str, Any]) -> Any:
    """Enter that payloads are about to be read; opening them takes the key, which is not given here.

    `subject` is call/ID, approval/ID, or "query" with the query in `note`.
    """
    args = Args(given, "subject", "note")
    subject = args.text("subject")
    if not _SUBJECT.fullmatch(subject):
        raise usage("the subject of a look is call/ID, approval/ID, or query", "say one of them")
    change = Change("audit.payload_read", author, subject=subject, note=args.text("note", ""))
    await enter(house, change, nothing)
    return {"subject": subject}

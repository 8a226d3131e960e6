"""Where a fault of ours is said to the person on call."""

from __future__ import annotations

import traceback
from pathlib import Path

import structlog

log = structlog.get_logger()


def log_fault(fault: BaseException, call_id: str) -> None:
    """Where it broke, and what kind of error; never its text, which may quote an argument."""
    frames = traceback.extract_tb(fault.__traceback__)[-8:]
    places = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
    log.error("edge_fault", call_id=call_id, error=type(fault).__name__, places=places)

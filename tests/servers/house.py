"""A small gateway process for crash tests: upstreams around lines.py, one call, then it waits.

Prints, as one JSON line, the process ids that the call made known.
"""

import asyncio
import json
import sys
from pathlib import Path

import structlog

from gateway.upstream.catalogue import Upstreams
from gateway.upstream.spec import ServerSpec, StdioTransport
from tests.fakes import Collected, make_call, make_permit

LINES = str(Path(__file__).with_name("lines.py"))


async def main() -> None:
    transport = StdioTransport((sys.executable, "-S", LINES, "modern", "stubborn"))
    log = structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr), wrapper_class=structlog.make_filtering_bound_logger(40)
    )
    upstreams = Upstreams([ServerSpec("fake", transport)], log)
    await upstreams.start()
    outcome = await upstreams.invoke(make_permit(make_call(name="descendants")), Collected())
    sys.stdout.write(json.loads(outcome.result)["content"][0]["text"] + "\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())

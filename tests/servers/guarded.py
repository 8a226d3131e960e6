"""Servers that let in only what crossed the border: others' apps behind the recipe in deploy/.

python -m tests.servers.guarded KIND BORDER      until killed; says its URL
"""

from __future__ import annotations

import asyncio
import http.server
import runpy
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp

from tests.servers.pets import Pets, serving
from tests.upstream.older_servers import Running, newest_server, sse_server, streamable_server

RECIPE = Path(__file__).parents[2] / "deploy" / "recipes" / "only_through_the_border.py"
KINDS: dict[str, Callable[..., AbstractAsyncContextManager[Running]]] = {
    "newest": newest_server,
    "streamable": streamable_server,
    "sse": sse_server,
}


def only_through(border: str) -> Callable[[ASGIApp, str], Any]:
    """The recipe, for apps that want to be asked by the gateway at *border* alone."""
    recipe = runpy.run_path(str(RECIPE))["OnlyThroughTheBorder"]
    return lambda app, url: recipe(app, border, url)


@contextmanager
def publishing(key_set: Callable[[], bytes]) -> Iterator[str]:
    """What the gateway does at /.well-known/jwks.json, and nothing else of it; its URL."""

    class Published(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = key_set()
            self.send_response(200 if self.path == "/.well-known/jwks.json" else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Published) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join(10)


async def main(kind: str, border: str) -> None:
    async with KINDS[kind](guard=only_through(border)) as running:
        await _until_killed(running.url)


async def _until_killed(url: str) -> None:
    sys.stdout.write(f"{url}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    if sys.argv[1] == "pets":
        with serving(Pets(), lambda app, url: only_through(sys.argv[2])(app, f"{url}/v1")) as pets:
            asyncio.run(_until_killed(pets.url))
    asyncio.run(main(sys.argv[1], sys.argv[2]))

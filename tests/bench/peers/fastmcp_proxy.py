"""FastMCP's proxy as its documentation shows it, or, with "kept", around one connected client.

    BENCH_SECRET=... python fastmcp_proxy.py UPSTREAM_URL PORT [kept]

Run by the Python of its own environment.
"""

import asyncio
import os
import sys

from fastmcp import Client
from fastmcp.server import create_proxy
from fastmcp.server.auth.providers.jwt import JWTVerifier


async def serve(upstream: "str | Client", port: int) -> None:
    secret = os.environ["BENCH_SECRET"]
    auth = JWTVerifier(public_key=secret, algorithm="HS256", issuer="bench", audience="bench")
    proxy = create_proxy(upstream, auth=auth)
    await proxy.run_http_async(show_banner=False, host="127.0.0.1", port=port, log_level="warning")


async def main(url: str, port: str, *how: str) -> None:
    if how == ("kept",):
        async with Client(url) as client:
            await serve(client, int(port))
    else:
        await serve(url, int(port))


asyncio.run(main(*sys.argv[1:]))

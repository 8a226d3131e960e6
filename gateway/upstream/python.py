"""Python functions as a server: the public functions of a module, served from a child process.

    python -m gateway.upstream.python package.module

The module runs in the child and nowhere else. Names come from `__all__`, else from every public
function the module defines; schemas from type hints; descriptions from docstrings.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from gateway.upstream.spec import PythonTransport, StdioTransport


def python_command(transport: PythonTransport) -> StdioTransport:
    """The child process that serves the module."""
    # The child must find this package, wherever the gateway was started from.
    here = str(Path(__file__).resolve().parents[2])
    paths = [here, transport.env["PYTHONPATH"]] if "PYTHONPATH" in transport.env else [here]
    return StdioTransport(
        command=(sys.executable, "-m", "gateway.upstream.python", transport.module),
        env={**transport.env, "PYTHONPATH": os.pathsep.join(paths)},
        cwd=transport.cwd,
        auth_missing=transport.auth_missing,
    )


def public_functions(module: ModuleType) -> dict[str, Callable[..., Any]]:
    """What the module offers, in its own order."""
    names = getattr(module, "__all__", None)
    if names is None:
        names = [
            name
            for name, value in vars(module).items()
            if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__
        ]
    found = {name: getattr(module, name) for name in names}
    return {name: value for name, value in found.items() if inspect.isfunction(value)}


def main(argv: list[str]) -> int:
    """Serve until the input closes. Returns an exit code."""
    if len(argv) != 2:
        sys.stderr.write("usage: python -m gateway.upstream.python package.module\n")
        return 2
    from mcp.server import MCPServer  # only the child pays for the SDK

    module = importlib.import_module(argv[1])
    server = MCPServer(argv[1], instructions=inspect.getdoc(module) or None)
    for name, function in public_functions(module).items():
        try:
            server.add_tool(function, name=name, description=inspect.getdoc(function) or "")
        except Exception as err:  # noqa: BLE001 - one function without a schema, the others stay
            sys.stderr.write(f"{argv[1]}.{name} is not offered: {type(err).__name__}: {err}\n")
    server.run("stdio")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))

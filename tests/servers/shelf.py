"""A stdio MCP server whose lists are read anew from a file each time: tests change what it says.

python shelf.py definitions.json [calls]        {"tools": [...], "instructions": "..."}

Each call is a line in the file *calls*.
"""

import json
import sys
from pathlib import Path
from typing import Any

MODERN = "2026-07-28"


def listed() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    return found


def result_of(method: str, params: dict[str, Any]) -> dict[str, Any]:
    if method == "server/discover":
        instructions = listed().get("instructions", "")
        introduction: dict[str, Any] = {
            "supportedVersions": [MODERN],
            "capabilities": {"tools": {}, "prompts": {}},
        }
        return introduction | ({"instructions": instructions} if instructions else {})
    if method == "tools/call":
        if len(sys.argv) > 2:
            with Path(sys.argv[2]).open("a") as calls:
                calls.write(params["name"] + "\n")
        said = json.dumps(params.get("arguments", {}))
        text = "\x1b[2Jyou said " + said  # a terminal would clear its screen
        return {"content": [{"type": "text", "text": text}], "isError": params["name"] == "fail"}
    kind = method.partition("/")[0]
    return {kind: listed().get(kind, [])}


def main() -> None:
    for line in sys.stdin:
        message = json.loads(line)
        if "id" not in message:
            continue
        result = result_of(message["method"], message.get("params", {}))
        answer = {"jsonrpc": "2.0", "id": message["id"], "result": result}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

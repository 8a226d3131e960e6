"""A gateway elsewhere: where the key goes, where it never goes, and what does not count as an answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import click
import pytest

from gateway.cli.main import main
from tests.cli.household import Household

KEY = "chk_elsewhere_0123456789abcdefghijklmnopqrstuvw"
JSON, PROBLEM = "application/json", "application/problem+json"


@dataclass
class Elsewhere:
    """Something that speaks HTTP, and keeps what it was sent."""

    answer: tuple[int, dict[str, str], bytes]
    url: str = ""
    heard: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)


@contextmanager
def elsewhere(status: int, kind: str, body: Any, **headers: str) -> Iterator[Elsewhere]:
    said = body if isinstance(body, bytes) else json.dumps(body).encode()
    place = Elsewhere((status, {"Content-Type": kind, **headers}, said))

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            place.heard.append((self.command, self.path, dict(self.headers)))
            code, names, sent = place.answer
            self.send_response(code)
            for name, value in names.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answers)
    place.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield place
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def away(home: Household) -> Household:
    home.environ["CUSTOMHOUSE_KEY"] = KEY
    return home


def test_the_key_goes_to_the_gateway_that_was_named_as_a_bearer(away: Household) -> None:
    with elsewhere(200, JSON, {"items": []}) as there:
        assert away.ask("--url", there.url, "agent", "list") == []
    ((verb, path, headers),) = there.heard
    assert (verb, path) == ("GET", "/api/v1/agents?limit=1000")
    assert headers["Authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("tail", ["", "/", "/mcp", "/token/mcp", "/mcp/s/docs"])
def test_the_variable_may_name_what_clients_of_tools_use(away: Household, tail: str) -> None:
    with elsewhere(200, JSON, {"items": []}) as there:
        away.environ["CUSTOMHOUSE_URL"] = there.url + tail
        assert away.ask("agent", "list") == []
    assert there.heard[0][1] == "/api/v1/agents?limit=1000"


def test_a_redirect_is_not_followed(away: Household) -> None:
    with (
        elsewhere(200, JSON, {"items": []}) as other,
        elsewhere(302, JSON, b"", Location=f"{other.url}/api/v1/agents") as there,
    ):
        refusal = away.refusal("--url", there.url, "agent", "list")
    assert refusal["exit_code"] == 5
    assert not other.heard


@pytest.mark.parametrize(
    "url",
    ["http://gateway.example.com", "http://10.0.0.1:8080", "http://127.0.0.1.example.com",
     "http://user:pw@127.0.0.1", "ftp://127.0.0.1", "https://", "https://a.example/?key=x",
     "https://a.example/#x", "http://[::ffff:10.0.0.1]", "http://0.0.0.0"],
)  # fmt: skip
def test_the_key_never_goes_in_clear_to_another_machine(away: Household, url: str) -> None:
    refusal = away.refusal("--url", url, "agent", "list")
    assert refusal["exit_code"] == 2
    assert KEY not in json.dumps(refusal)


@pytest.mark.parametrize(
    ("status", "kind", "body", "code"),
    [
        (200, "text/html", b"<html>", 5),
        (200, JSON, b"not json", 5),
        (200, JSON, [], 5),
        (200, PROBLEM, {"detail": "?"}, 2),
        (404, "text/html", b"", 5),
        (401, PROBLEM, {"code": "not_authenticated", "title": "no", "detail": "no"}, 4),
        (403, PROBLEM, {"code": "forbidden", "title": "no", "detail": "no"}, 4),
        (404, PROBLEM, {"code": "unknown_object", "title": "no", "detail": "no"}, 1),
        (412, PROBLEM, {"code": "etag_stale", "title": "no", "detail": "no"}, 6),
        (422, PROBLEM, {"code": "not_valid", "title": "no", "detail": "no"}, 3),
        (503, PROBLEM, {"code": "draining", "title": "no", "detail": "no"}, 5),
    ],
)
def test_whatever_answers_ends_with_the_right_code(
    away: Household, status: int, kind: str, body: Any, code: int
) -> None:
    with elsewhere(status, kind, body) as there:
        assert away.refusal("--url", there.url, "agent", "list")["exit_code"] == code


def test_nobody_there_is_told_as_such(away: Household) -> None:
    assert away.refusal("--url", "http://127.0.0.1:1", "agent", "list")["exit_code"] == 5


def test_a_change_that_needs_it_says_which_state_it_is_for(away: Household) -> None:
    row = {"name": "docs", "suspended": True, "changed": True}
    with elsewhere(200, JSON, row, ETag='"abc"') as there:
        away.ask("--url", there.url, "server", "suspend", "docs")
    assert [(verb, path) for verb, path, _ in there.heard] == [
        ("GET", "/api/v1/servers/docs"),
        ("POST", "/api/v1/servers/docs/suspend"),
    ]
    assert there.heard[1][2]["If-Match"] == '"abc"'


def test_a_name_cannot_become_another_path(away: Household) -> None:
    with elsewhere(404, PROBLEM, {"code": "unknown_object"}) as there:
        away.run("--url", there.url, "key", "revoke", "../agents?x=1#y")
    assert there.heard[0][1] == "/api/v1/keys/..%2Fagents%3Fx%3D1%23y/revoke"


@pytest.mark.parametrize(
    "arguments",
    [
        ("serve",),
        ("init",),
        ("config", "show"),
        ("doctor",),
        ("agent", "add", "x"),
        ("audit", "verify"),
        ("audit", "tail"),
        ("audit", "export"),
        ("policy", "check"),
        ("policy", "explain", "a", "b", "--draft"),
        ("policy", "diff"),
        ("server", "add", "x", "--", "y"),
        ("tool", "lock"),
        ("tool", "call", "--as", "bot", "docs/search"),
        ("agent", "list", "--config", "x.toml"),
    ],
)
def test_what_is_not_done_from_elsewhere_says_so_and_does_nothing_here(
    away: Household, arguments: tuple[str, ...]
) -> None:
    with elsewhere(200, JSON, {}) as there:
        result = away.run("--url", there.url, *arguments)
    assert result.exit_code == 2, result.output
    assert not there.heard
    assert not (away.folder / "data" / "customhouse.db-wal").exists()


def leaves(group: click.Group, *before: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from leaves(command, *before, name)
        else:
            yield (*before, name), command


def needed(command: click.Command) -> list[str]:
    """Something for everything that *command* cannot do without."""
    words = []
    for param in command.params:
        if param.required and isinstance(param, click.Option):
            words.append(param.opts[-1])
        if isinstance(param.type, click.Choice) and param.required:
            words.append(str(param.type.choices[0]))
        elif param.required or param.name == "object_":
            words.append("bot" if param.name == "agent" else "docs/search")
    return words


@pytest.mark.parametrize(
    ("words", "command"),
    # The demo becomes another program, whose help it is.
    [pytest.param(*one, id=" ".join(one[0])) for one in leaves(main) if one[0] != ("demo",)],
)
def test_the_help_says_what_works_from_elsewhere_and_that_is_what_does(
    away: Household, words: tuple[str, ...], command: click.Command
) -> None:
    with elsewhere(403, PROBLEM, {"code": "forbidden"}) as there:
        away.run("--url", there.url, *words, *needed(command))
    said = " ".join(away.do(*words, "--help").split())
    heard = bool(there.heard)
    assert (f"from elsewhere, too: customhouse --url URL {' '.join(words)}" in said) == heard
    clients = words[0] in ("connect", "bridge")
    assert ("on this machine only" in said) == (not heard and not clients)


def test_a_key_without_a_gateway_is_a_mistake(away: Household) -> None:
    assert away.run("--key", "env:CUSTOMHOUSE_KEY", "agent", "list").exit_code == 2


def test_the_key_itself_is_not_taken_from_the_command_line(away: Household) -> None:
    result = away.run("--url", "http://127.0.0.1:1", "--key", KEY, "agent", "list")
    assert result.exit_code == 2
    assert KEY not in result.output

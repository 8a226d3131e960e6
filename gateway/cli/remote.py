"""A gateway on another machine, administered over its API: the same operations, by the same names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode

from gateway.cli.border import Border, Lost
from gateway.domain.operator import Exit, OperationRefused, usage
from gateway.edge.api.routes import BY_OPERATION, PREFIX, Route, route_of

PATIENCE_S: Final = 200.0  # an operation may take its time; the gateway bounds it
MOST: Final = 1000  # rows of one page
# What clients of tools call the gateway: its API is beside that.
_ENDPOINT = re.compile(r"(?:/token)?/mcp(?:/[st]/[a-z0-9_-]+)?(?:/search)?/?$")
_EXIT_OF: Final[Mapping[int, Exit]] = {
    401: Exit.NOT_OPERATOR,
    403: Exit.NOT_OPERATOR,
    404: Exit.NO,
    409: Exit.CONFLICT,
    412: Exit.CONFLICT,
    422: Exit.INVALID,
    429: Exit.UNREACHABLE,
}
_BY_POLICY: Final = frozenset({"forbidden", "denied"})
_ANY_ROLE: Final = "Ask for a role"  # what the API says to whoever policy refuses
_PROBLEM, _JSON = "application/problem+json", "application/json"


class Remote:
    """One gateway and one credential, which goes to nobody else."""

    def __init__(self, url: str, key: str) -> None:
        """Raises: OperationRefused (usage): no URL of a gateway, or one where the key would be read."""
        self.url = _ENDPOINT.sub("", url).rstrip("/")
        self._key = key
        border = Border(self.url, key)
        if "?" in self.url or "#" in self.url:
            raise usage(
                "the URL of the gateway has a query", "say where the gateway is, and no more"
            )
        if border.in_clear:
            raise usage(
                f"the key would go to {self.url} in clear",
                "use https, or an address of this machine",
            )

    def look(self, operation: str, /, **args: Any) -> Any:
        """What there is to see. Raises: OperationRefused."""
        route = BY_OPERATION[operation]
        value, _ = self._sent(route, args)
        return value

    def seen(self, operation: str, /, **args: Any) -> tuple[Any, str]:
        """What there is to see, and its ETag, to change just that. Raises: OperationRefused."""
        return self._sent(BY_OPERATION[operation], args)

    def rows(self, operation: str, /, most: int = 1 << 62, **args: Any) -> Iterator[Any]:
        """Every row of a list, page by page, at most *most* of them. Raises: OperationRefused."""
        cursor = None
        while most > 0:
            page = self.look(operation, **args, limit=min(most, MOST), cursor=cursor)
            yield from page["items"]
            most -= len(page["items"])
            cursor = page.get("next")
            if cursor is None:
                return

    def change(self, operation: str, args: Mapping[str, Any], etag: str = "") -> Any:
        """Have it done, if its resource then is what *etag* says, or what it is now.

        Raises: OperationRefused.
        """
        route = BY_OPERATION.get(operation)
        if route is None or route.verb != "POST":
            raise not_remote()
        if route.guard and not etag:
            guard = route_of(route.guard)
            _, etag = self._sent(guard, {name: args[name] for name in _parts(guard)})
        value, _ = self._sent(route, args, etag)
        return value

    def _sent(self, route: Route, args: Mapping[str, Any], etag: str = "") -> tuple[Any, str]:
        """The answer, and its ETag."""
        given = {name: value for name, value in args.items() if value not in (None, "", ())}
        parts = {name: quote(str(given.pop(name, "")), safe="") for name in _parts(route)}
        path = PREFIX + route.path.format(**parts)
        headers, body = {"Accept": f"{_JSON}, {_PROBLEM}"}, None
        if route.verb == "POST":
            known = (route.body or {}).get("properties", {})
            members = {name: value for name, value in given.items() if name in known}
            body = json.dumps(members).encode()
            headers |= {"If-Match": etag} if etag else {}
        elif given:
            path += "?" + urlencode(given, doseq=True, quote_via=quote)
        exchange = Border(self.url + path, self._key).exchange(route.verb, headers, body)
        try:
            status = exchange.send(PATIENCE_S)
            said = exchange.whole()
        except Lost as err:
            raise _silent(str(err), route) from err
        return _read(status, exchange.kind, said, route, self.url), exchange.header("ETag")


def not_remote() -> OperationRefused:
    return usage(
        "this command works on the gateway's own machine only",
        "run it there, without --url and with CUSTOMHOUSE_URL unset",
    )


def _parts(route: Route) -> list[str]:
    return re.findall(r"\{(\w+)\}", route.path)


def _read(status: int, kind: str, said: bytes, route: Route, url: str) -> Any:
    try:
        value = json.loads(said)
    except (ValueError, RecursionError):
        value = None
    if status in (200, 201) and kind == _JSON and isinstance(value, dict):
        return value
    if kind == _PROBLEM and isinstance(value, dict):
        raise _refused(status, value, route)
    raise OperationRefused(
        f"{url} answered {status}, and not as a gateway does",
        "there is no gateway, or one without this API, or something stands before it",
        "say where the gateway is: --url https://gateway.example.com",
        Exit.UNREACHABLE,
    )


def _refused(status: int, problem: Mapping[str, Any], route: Route) -> OperationRefused:
    what, why, fix = (str(problem.get(key, "")) for key in ("detail", "title", "fix"))
    call, code = problem.get("call_id"), str(problem.get("code", "refused"))
    if code in _BY_POLICY:
        why, fix = _missing(route, fix)
    why = ": ".join(filter(None, (code, why))) + (f" (call {call})" if call else "")
    default = Exit.UNREACHABLE if status >= 500 else Exit.USAGE
    return OperationRefused(what, why, fix, _EXIT_OF.get(status, default))


def _missing(route: Route, fix: str) -> tuple[str, str]:
    """What the command needs; no word of policy where another rule said no, with a *fix* of its own."""
    if not fix.startswith(_ANY_ROLE):
        return "", fix
    right = f"{route.act} on admin/{route.noun}"
    if route.of_house:
        right += ", in every tenant (*)"
    return f"this needs {right}", f"ask for a role whose rules allow {right}"


def _silent(told: str, route: Route) -> OperationRefused:
    sent = "whether it took effect is in its log; " if route.verb == "POST" else ""
    return OperationRefused(
        told,
        f"{sent}the command needs the gateway",
        "see that it runs, and where",
        Exit.UNREACHABLE,
    )

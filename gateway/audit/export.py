"""What leaves the house: one record for a call with its outcome, or for any other entry.

    {"leaf":7,"at":"2026-11-22T12:00:00.000000Z","kind":"call","agent":"bot","status":"ok",...,
     "entries":[{"k":"intent",...},{"k":"outcome",...}],"names":{"s1f0c...":"bot",...},
     "salts":{"s1f0c...":"8a0f..."},"proofs":["c2sp.org/tlog-proof@v1\\n...","..."]}

Everything beside `entries`, `names`, `salts` and `proofs` is made from them by `record`, so whoever
receives a record can make it again and compare. Standard library only, as the verifier is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from gateway.audit.pairing import ORIGIN_PREFIX
from gateway.domain.window import when

Json = dict[str, Any]
Names = Mapping[str, str]

# Of the table `records` in an export as a database, beside `record`, the whole as JSON.
COLUMNS = (
    *(
        "leaf",
        "at",
        "kind",
        "call",
        "agent",
        "tenant",
        "team",
        "object",
        "method",
        "status",
        "code",
    ),
    *("what", "author", "subject", "address", "charged_tokens", "charged_calls", "charged_cost"),
)
_PSEUDONYM = re.compile(r"[a-z][0-9a-f]{16}\Z")
# Never pseudonyms that anybody has a name for.
_FREE = frozenset(
    {"conds", "codes", "detail", "digest", "call", "trace", "run", "chain", "approval", "key"}
)
# Of an entry, by the name that a record gives it; the first that is there.
_NAMED = {
    "agent": "who",
    "tenant": "tenant",
    "team": "team",
    "credential": "cred",
    "server": "server",
    "author": "author",
    "subject": "subject",
    "address": "address",
}
_PLAIN = (
    *("call", "method", "act", "policy", "what", "code", "count", "parent", "trace"),
    *("run", "chain", "approval", "key", "replays"),
)
_SAID = ("prompt", "completion")  # tokens of a model call, as its provider counts them


def record(
    log: str,
    entries: Sequence[Json],
    names: Names,
    salts: Mapping[str, str] | None = None,
    proofs: Sequence[str] = (),
) -> Json:
    """The record of *entries*: an intent with its outcome, or one entry alone.

    *log*: its id. *salts* and *proofs* go together: with them the record can be verified.
    """
    first = entries[0]
    said: Json = {
        "log": log,
        "leaf": first["i"],
        "at": when(first["t"]),
        "kind": "call" if first["k"] == "intent" else first["k"],
        **{key: first[key] for key in _PLAIN if first.get(key)},
        **{key: names.get(first[at], first[at]) for key, at in _NAMED.items() if first.get(at)},
        **_decided(first),
        "object": _object(first, names),
        **_ended(entries),
        "entries": list(entries),
        "names": dict(sorted(names.items())),
    }
    if salts is not None:
        said |= {"salts": dict(sorted(salts.items())), "proofs": list(proofs)}
    return {key: value for key, value in said.items() if value not in ("", None)}


def pseudonyms(entries: Iterable[Json]) -> list[str]:
    """Every pseudonym that stands in *entries*, once."""
    return list(dict.fromkeys(one for entry in entries for one in _pseudonyms(entry)))


def _pseudonyms(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if _PSEUDONYM.match(value):
            yield value
    elif isinstance(value, list):
        for item in value:
            yield from _pseudonyms(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key not in _FREE:
                yield from _pseudonyms(key)
                yield from _pseudonyms(item)


def _object(first: Json, names: Names) -> str:
    """The account of a tool is named `TENANT KIND/SERVER/NAME`."""
    accounts = first.get("acc") or []
    if len(accounts) >= 4 and accounts[3]:
        return names.get(accounts[3], accounts[3]).partition(" ")[2] or str(accounts[3])
    kind = first.get("kind", "")
    server = names.get(first.get("server", ""), first.get("server", ""))
    return f"{kind}/{server}/?" if kind and server else f"{kind}/?" if kind else ""


def _decided(first: Json) -> Json:
    said: Json = {}
    if first["k"] in ("intent", "refused") and first.get("policy"):
        said["verdict"] = "allow" if first["k"] == "intent" else "refused"
        said["rule"] = first.get("rule", -1)
    return said


def _ended(entries: Sequence[Json]) -> Json:
    first, last = entries[0], entries[-1]
    if first["k"] == "intent":
        if len(entries) == 1:
            return {"status": "in_flight"}
        used = last["used"]
        charged = {f"charged_{meter}": used[meter] for meter in ("tokens", "calls", "cost")}
        charged |= {
            f"said_{of}_tokens": n for of, n in zip(_SAID, last.get("said", ()), strict=False)
        }
        return {"status": last["status"], "code": last.get("code", ""), "ms": last["ms"], **charged}
    if first["k"] in ("refused", "folded"):
        return {"status": "refused"}
    return {"status": "ok"}


# -- CloudEvents 1.0 ------------------------------------------------------------------------------


def cloudevent(said: Json) -> Json:
    """*said*, a record, as a CloudEvent in its JSON format: one to a line."""
    event: Json = {
        "specversion": "1.0",
        "id": str(said["leaf"]),
        "source": f"urn:customhouse:log:{said['log']}",
        "type": f"io.customhouse.audit.{said['kind']}",
        "time": said["at"],
        "datacontenttype": "application/json",
        "data": said,
    }
    if said.get("call"):
        event["subject"] = said["call"]
    return event


# -- OCSF 1.3, API Activity -----------------------------------------------------------------------

OCSF_VERSION = "1.3.0"
_CATEGORY, _CLASS = 6, 6003
_CREATE, _READ, _UPDATE, _DELETE, _OTHER = 1, 2, 3, 4, 99
_ACTIVITIES = {_CREATE: "Create", _READ: "Read", _UPDATE: "Update", _DELETE: "Delete"}
_READING = frozenset({"list", "read", "get", "complete", "subscribe"})
_VERBS = {
    "add": _CREATE,
    "issue": _CREATE,
    "seen": _CREATE,
    "reopen": _CREATE,
    "remove": _DELETE,
    "drop": _DELETE,
    "dropped": _DELETE,
    "gone": _DELETE,
    "erase": _DELETE,
    "revoke": _DELETE,
    "payload_read": _READ,
    "call_as": _OTHER,
}
_UNKNOWN, _SUCCESS, _FAILURE = 0, 1, 2
_SUCCEEDED = frozenset({"ok", "input_required"})
_OPEN = frozenset({"unknown", "in_flight"})
_INFORMATIONAL, _LOW = 1, 2
_ADDRESS = re.compile(r"[0-9.]{7,15}\Z|[0-9a-f:.]*:[0-9a-f:.]*\Z")


def ocsf(said: Json) -> Json:
    """*said*, a record, as an event of class API Activity (6003); the record itself is `unmapped`."""
    activity, name = _activity(said)
    status = _status(said)
    event: Json = {
        "category_uid": _CATEGORY,
        "class_uid": _CLASS,
        "activity_id": activity,
        "activity_name": name,
        "type_uid": _CLASS * 100 + activity,
        "time": said["entries"][0]["t"] // 1000,
        "severity_id": _INFORMATIONAL if status == _SUCCESS else _LOW,
        "status_id": status,
        "status_code": said.get("code") or said["status"],
        "actor": {"user": _user(said)},
        "api": _api(said),
        "src_endpoint": _source(said),
        "metadata": _metadata(said),
        "unmapped": said,
    }
    if said.get("server"):
        event["dst_endpoint"] = {"svc_name": said["server"]}
    if said.get("object") or said.get("subject"):
        event["resources"] = [{"name": said.get("object") or said["subject"]}]
    if "ms" in said:
        event["duration"] = said["ms"]
    if said["kind"] == "folded":
        first = said["entries"][0]
        event |= {"count": first["count"]}
        event |= {"start_time": first["first"] // 1000, "end_time": first["last"] // 1000}
    return event


def _activity(said: Json) -> tuple[int, str]:
    if said["kind"] == "change":
        activity = _VERBS.get(said["what"].rpartition(".")[2], _UPDATE)
        return activity, _ACTIVITIES.get(activity, str(said["what"]))
    if said.get("act") in _READING:
        return _READ, _ACTIVITIES[_READ]
    return _OTHER, str(said.get("act") or said["kind"])


def _status(said: Json) -> int:
    if said["status"] in _OPEN:
        return _UNKNOWN
    return _SUCCESS if said["status"] in _SUCCEEDED else _FAILURE


def _user(said: Json) -> Json:
    first = said["entries"][0]
    name = said.get("agent") or said.get("author")
    if not name:
        return {"name": "customhouse" if "address" not in said else "unknown", "type_id": 0}
    user: Json = {"name": name, "uid": first.get("who") or first.get("author"), "type_id": 0}
    if said.get("team"):
        user["groups"] = [{"name": said["team"]}]
    if said.get("tenant"):
        user["org"] = {"name": said["tenant"]}
    return user


def _api(said: Json) -> Json:
    api: Json = {
        "operation": said.get("method") or said.get("what") or said["kind"],
        "service": {"name": said.get("server") or "customhouse"},
        "request": {"uid": said.get("call") or str(said["leaf"])},
        "response": {"message": said["status"]},
    }
    if said.get("code"):
        api["response"]["error"] = said["code"]
    return api


def _source(said: Json) -> Json:
    address = said.get("address", "")
    if _ADDRESS.match(address):
        return {"ip": address}
    return {"name": address or said.get("credential") or said.get("author") or "customhouse"}


def _metadata(said: Json) -> Json:
    return {
        "version": OCSF_VERSION,
        "product": {"name": "Customhouse", "vendor_name": "Customhouse"},
        "uid": f"{said['log']}/{said['leaf']}",
        "log_name": f"{ORIGIN_PREFIX}{said['log']}",
        "sequence": said["leaf"],
        "original_time": said["at"],
        **({"correlation_uid": said["call"]} if said.get("call") else {}),
    }

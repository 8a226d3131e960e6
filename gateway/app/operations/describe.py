"""An entry in words: pseudonyms resolved, an intent together with its outcome."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gateway.audit import entry as entries
from gateway.domain.model import Amounts
from gateway.domain.window import when

Name = Callable[[str], str]  # pseudonym -> name
Row = dict[str, Any]

IN_FLIGHT = "in_flight"
REFUSED = "refused"


def describe(entry: entries.Entry, name: Name, outcome: entries.Outcome | None = None) -> Row:
    """What a reader wants of *entry*, as plain values; what is absent is left out."""
    row: Row = {
        "leaf": entry.i,
        "at": when(entry.t),
        "at_us": entry.t,
        "kind": str(entry.__struct_config__.tag),
    }
    if isinstance(entry, entries.Intent | entries.Single | entries.Refused):
        row |= _caller(entry, name)
    if isinstance(entry, entries.Intent):
        row |= {"kind": "call"} | _intent(entry, name)
        row |= _outcome(outcome) if outcome else {}
    elif isinstance(entry, entries.Refused):
        row |= _refusal(entry, name)
    else:
        row |= _other(entry, name)
    return {key: value for key, value in row.items() if value not in ("", None, (), {}, [])}


def _other(entry: entries.Entry, name: Name) -> Row:
    if isinstance(entry, entries.Outcome):
        return {"call": entry.call} | _outcome(entry)
    if isinstance(entry, entries.Single):
        return {"policy": entry.policy, "status": "ok", "replays": entry.replays or ""}
    if isinstance(entry, entries.Folded):
        return _folded(entry, name)
    if isinstance(entry, entries.Change):
        return _change(entry, name)
    return _of_the_log(entry)


def _of_the_log(entry: entries.Entry) -> Row:
    """What processes write of themselves."""
    if isinstance(entry, entries.Recovery):
        return {"what": entry.reason, "tail": entry.tail}
    if isinstance(entry, entries.Open):
        return {"what": entry.log, "key": entry.key, "meter": entry.meter}
    return {"digest": entry.digest} if isinstance(entry, entries.Counters) else {}


def _caller(entry: entries.Intent | entries.Single | entries.Refused, name: Name) -> Row:
    return {
        "call": entry.call,
        "agent": name(entry.who),
        "actors": [name(actor) for actor in entry.actors],
        "tenant": name(entry.tenant),
        "team": name(entry.team),
        "credential": name(entry.cred),
        "method": entry.method,
        "server": name(entry.server),
        "object": _object(entry, name),
        "act": str(entry.act or ""),
        "run": entry.run,
        "chain": list(entry.chain),
    }


def _object(entry: entries.Intent | entries.Single | entries.Refused, name: Name) -> str:
    """The account of the tool is named `TENANT KIND/SERVER/NAME`; its own name may be erased."""
    if len(entry.acc) >= 4 and entry.acc[3]:
        account = name(entry.acc[3])
        return account.partition(" ")[2] or account
    if entry.kind is None:
        return ""
    server = name(entry.server)
    return f"{entry.kind}/{server}/?" if server else f"{entry.kind}/?"


def _intent(entry: entries.Intent, name: Name) -> Row:
    return {
        "round": entry.round if entry.round > 1 else None,
        "parent": entry.parent,
        "rule": str(entry.rule) if entry.rule >= 0 else "",
        "conditions": dict(entry.conds),
        "policy": entry.policy,
        "definition": entry.definition,
        "held": amounts(entry.hold),
        "meter": entry.meter,
        "arguments": entry.args,
        "limits": [[name(account), *rest] for account, *rest in entry.limits],
        "trace": entry.trace,
        "approval": entry.approval,
        "key": entry.key,
    }


def _outcome(entry: entries.Outcome) -> Row:
    return {
        "status": str(entry.status),
        "code": entry.code,
        "charged": amounts(entry.used),
        "bytes": entry.bytes,
        "notifications": entry.count or "",
        "ms": entry.ms,
        "said": dict(zip(("prompt", "completion"), entry.said, strict=False)),
        "result": entry.result,
        "by": entry.by,
        "outcome_leaf": entry.i,
    }


def _refusal(entry: entries.Refused, name: Name) -> Row:
    return {
        "status": REFUSED,
        "code": entry.code,
        "address": name(entry.address),
        "rule": str(entry.rule) if entry.rule >= 0 else "",
        "conditions": dict(entry.conds),
        "policy": entry.policy,
        "arguments": entry.args,
        "detail": dict(entry.detail),
    }


def _folded(entry: entries.Folded, name: Name) -> Row:
    return {
        "status": REFUSED,
        "code": sorted(entry.codes),
        "codes": dict(entry.codes),
        "agent": name(entry.who),
        "address": name(entry.address),
        "count": entry.count,
        "first": when(entry.first),
        "last": when(entry.last),
    }


def _change(entry: entries.Change, name: Name) -> Row:
    return {
        "what": entry.what,
        "author": name(entry.author),
        "subject": name(entry.subject),
        "digest": entry.digest,
        "prior": entry.prior,
        "note": entry.note,
        "erased": _erased(entry.erased),
    }


def _erased(entry: entries.Erased | None) -> dict[str, int]:
    return {} if entry is None else {"payloads": entry.payloads, "names": len(entry.names)}


def amounts(of: Amounts) -> dict[str, int]:
    return {"tokens": of.tokens, "calls": of.calls, "cost": of.cost}

"""The shapes of what the API answers, as JSON Schema; they stand in its document."""

from __future__ import annotations

from typing import Any

Shape = dict[str, Any]

TEXT: Shape = {"type": "string"}
WHOLE: Shape = {"type": "integer"}
FLAG: Shape = {"type": "boolean"}
ANYTHING: Shape = {}
TEXTS: Shape = {"type": "array", "items": TEXT}
DIGEST: Shape = {"type": "string", "pattern": "^[0-9a-f]{64}$"}


def record(optional: Shape | None = None, /, **members: Shape) -> Shape:
    """An object of *members*, all of them there, and of *optional* ones."""
    properties = {**members, **(optional or {})}
    return {"type": "object", "properties": properties, "required": list(members)}


def listing(of: Shape) -> Shape:
    """A page of a list; without `next` it is the last."""
    return record({"next": TEXT}, items={"type": "array", "items": of})


def one_of(*words: str) -> Shape:
    return {"type": "string", "enum": list(words)}


def by_name(of: Shape) -> Shape:
    return {"type": "object", "additionalProperties": of}


_STATES = ("serving", "suspended", "not in the lock", "unreachable", "not asked")
SERVER = record(
    name=TEXT, kind=one_of("server", "model", "peer"), prefix=TEXT, target=TEXT, origin=TEXT, suspended=FLAG, approve=TEXT, tools=TEXTS,
    auth=TEXT, timeout_s={"type": "number"}, limits=TEXTS, definitions=by_name(WHOLE),
    state=one_of(*_STATES), failure=TEXT,
)  # fmt: skip
_DEFINITION = {
    "object": TEXT, "server": TEXT, "kind": TEXT, "name": TEXT, "wire_name": TEXT,
    "approval": one_of("proposed", "approved", "quarantined"), "reason": TEXT, "digest": DIGEST,
    "approved_digest": TEXT, "gone": FLAG, "not_in_lock": TEXT,
}  # fmt: skip
DEFINITION = record(**_DEFINITION)
DEFINITION_SHOWN = record(
    {"approved_body": ANYTHING, "tags": TEXTS, "price_micros": WHOLE, "max_result_tokens": WHOLE},
    **_DEFINITION,
    body=ANYTHING,
    flags={"type": "array", "items": {"type": "object"}},
)
AGENT = record(
    name=TEXT, tenant=TEXT, team=TEXT, roles=TEXTS, disabled=FLAG, origin=TEXT, limits=TEXTS
)
KEY = record(
    id=TEXT, agent=TEXT, state=one_of("good", "expired", "revoked"), origin=TEXT,
    issued_at_us=WHOLE, expires_at_us=WHOLE, revoked_at_us=WHOLE,
)  # fmt: skip
KEY_MADE = record(id=TEXT, agent=TEXT, key=TEXT, expires_at_us=WHOLE)
KEY_REVOKED = record(id=TEXT, agent=TEXT, revoked_at_us=WHOLE, changed=FLAG)
POLICY = record(version=DIGEST, rules=WHOLE, cases=WHOLE)
FINDING = record(file=TEXT, line=WHOLE, level=TEXT, what=TEXT, why=TEXT, fix=TEXT)
PROPOSAL = record(
    digest=DIGEST, proposed_by=TEXT, at=TEXT, until=TEXT, instead_of=DIGEST, back_to=TEXT
)
# ["-" or "+", a rule, a role link or a condition], in the order of their files.
_LINE = {"type": "array", "prefixItems": [one_of("-", "+"), TEXT], "minItems": 2, "maxItems": 2}
PROPOSAL_SHOWN = record(
    **PROPOSAL["properties"], files=TEXTS, rules={"type": "array", "items": _LINE}
)
# Where two persons are needed, applying only proposes, and says what waits.
POLICY_APPLIED = record(
    {**PROPOSAL["properties"], "proposed": DIGEST},
    version=DIGEST,
    prior=DIGEST,
    changed=FLAG,
    rules=WHOLE,
    cases=WHOLE,
    warnings=TEXTS,
)
EXPLANATION = record(
    allowed=FLAG, verdict=one_of("allow", "deny", "needs"), agent=TEXT, tenant=TEXT, object=TEXT, act=TEXT,
    by=TEXT, fix=TEXT, stopped=TEXT, conditions=by_name(FLAG), policy=DIGEST,
    approvals={"type": "array", "items": TEXTS},
    matches={"type": "array", "items": record(place=TEXT, rule=TEXT)}, nearest=TEXTS,
    said=TEXT,
)  # fmt: skip
_APPROVAL = {
    "approval": TEXT, "state": one_of("waiting", "granted", "denied", "expired"),
    "tenant": TEXT, "agent": TEXT,
    "actors": TEXTS, "object": TEXT, "definition": TEXT, "digest": DIGEST, "roles": TEXT, "run": TEXT,
    "asked_at": TEXT, "until": TEXT, "approved_by": TEXTS, "calls": WHOLE, "used": WHOLE,
    "denied_by": TEXT, "reason": TEXT,
}  # fmt: skip
APPROVAL = record(**_APPROVAL)
APPROVAL_SHOWN = record(
    **_APPROVAL,
    arguments=TEXT,
    call=TEXT,
    conditions=by_name(FLAG),
    rule_place=TEXT,
    rule_text=TEXT,
)
BUDGET = record(
    {
        "rate": TEXT, "meter": TEXT, "window": TEXT, "limit": WHOLE, "held": WHOLE,
        "charged": WHOLE, "left": WHOLE,
    },
    level=one_of("tenant", "team", "agent", "tool"), name=TEXT,
)  # fmt: skip
# What more an entry says depends on its kind; gateway/README.md has the kinds.
ENTRY = record(leaf=WHOLE, at=TEXT, at_us=WHOLE, kind=TEXT) | {"additionalProperties": True}
CALL = record(call=TEXT, entries={"type": "array", "items": ENTRY})
PROOF = record(call=TEXT, leaves={"type": "array", "items": WHOLE}, proofs=TEXTS)
CHECKPOINT = record(note=TEXT)
HEALTH = record(
    ready=FLAG, draining=FLAG, writable=FLAG, entries=WHOLE, checkpoint_age_s=WHOLE,
    servers=by_name(one_of(*_STATES)),
)  # fmt: skip
SWITCHED = record(name=TEXT, suspended=FLAG, changed=FLAG)
SERVER_APPROVED = record(server=TEXT, approved=TEXTS)
APPROVED = record(object=TEXT, digest=DIGEST, changed=FLAG)
PROBLEM = record(
    {"fix": TEXT, "instance": TEXT, "call_id": TEXT, "retry_after_ms": WHOLE},
    type=TEXT, title=TEXT, status=WHOLE, detail=TEXT, code=TEXT,
)  # fmt: skip

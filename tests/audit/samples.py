"""Entries for tests: one of each kind, and strategies that make any."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from gateway.audit import entry as entries
from gateway.domain.model import Act, Amounts, Kind, Status

AT_US = 1_795_392_000_000_000
TENANT, TEAM, AGENT, TOOL = (f"{letter}{'0123456789abcdef'}" for letter in "tgao")
POLICY = "5f" * 32

SAMPLES: dict[str, entries.Entry] = {
    "open": entries.Open(i=0, t=AT_US, log="6f" * 16, key="customhouse/x+1a2b3c4d", meter="b@1"),
    "continued": entries.Open(
        i=0,
        t=AT_US,
        log="6f" * 16,
        key="customhouse/x+1a2b3c4d",
        meter="b@1",
        prior=entries.Predecessor(log="5e" * 16, size=7, root="00" * 32),
    ),
    "close": entries.Close(i=9, t=AT_US),
    "intent": entries.Intent(
        i=1,
        t=AT_US,
        call="01HF3ZK9QW8R5T2Y7M4N6P0VXC",
        round=1,
        who=AGENT,
        tenant=TENANT,
        team=TEAM,
        actors=(AGENT,),
        cred="k0123456789abcdef",
        method="tools/call",
        server="s0123456789abcdef",
        kind=Kind.TOOL,
        act=Act.CALL,
        acc=(TENANT, TEAM, AGENT, TOOL),
        definition="ab" * 32,
        args="cd" * 32,
        rule=3,
        conds={"small_refund": True, "office_hours": False},
        policy=POLICY,
        hold=Amounts(25_010, 1, 500),
        limits=((TENANT, "tokens", "day", 200_000), (AGENT, "calls", "day", 1000)),
        meter="bytes4@1",
        parent="01HF3ZK9QW8R5T2Y7M4N6P0VXB",
        trace="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ),
    "outcome": entries.Outcome(
        i=2,
        t=AT_US + 5000,
        call="01HF3ZK9QW8R5T2Y7M4N6P0VXC",
        intent=1,
        status=Status.OK,
        bytes=1200,
        used=Amounts(310, 1, 500),
        ms=5,
        code="",
        result="ef" * 32,
    ),
    "subscription": entries.Outcome(
        i=2,
        t=AT_US + 5000,
        call="01HF3ZK9QW8R5T2Y7M4N6P0VXC",
        intent=1,
        status=Status.CANCELLED,
        bytes=0,
        used=Amounts(),
        ms=0,
        count=42,
    ),
    "recovered": entries.Outcome(
        i=2,
        t=AT_US,
        call="01HF3ZK9QW8R5T2Y7M4N6P0VXC",
        intent=1,
        status=Status.UNKNOWN,
        bytes=0,
        used=Amounts(25_010, 1, 500),
        ms=0,
        by="recovery",
    ),
    "single": entries.Single(
        i=3,
        t=AT_US,
        call="01HF3ZK9QW8R5T2Y7M4N6P0VXD",
        who=AGENT,
        tenant=TENANT,
        cred="k0123456789abcdef",
        method="tools/list",
        kind=Kind.SERVER,
        act=Act.LIST,
        policy=POLICY,
        acc=(TENANT, "", AGENT, TOOL),
        count=12,
    ),
    "refused": entries.Refused(
        i=4,
        t=AT_US,
        call="01HF3ZK9QW8R5T2Y7M4N6P0VXE",
        code="over_budget",
        who=AGENT,
        tenant=TENANT,
        kind=Kind.TOOL,
        act=Act.CALL,
        rule=0,
        detail={"scope": "tenant", "limit": 200_000, "k": "of a field, not of the entry"},
    ),
    "refused at the door": entries.Refused(
        i=4, t=AT_US, call="", code="not_authenticated", address="x0123456789abcdef"
    ),
    "folded": entries.Folded(
        i=5,
        t=AT_US,
        codes={"rate_limited": 40, "denied": 2},
        first=AT_US - 9,
        last=AT_US,
        count=42,
        digest="12" * 32,
        who=AGENT,
    ),
    "counters": entries.Counters(i=6, t=AT_US, digest="34" * 32),
    "recovery": entries.Recovery(i=7, t=AT_US, reason="start", tail=7),
    "change": entries.Change(
        i=8,
        t=AT_US,
        what="policy.apply",
        author="o0123456789abcdef",
        digest="56" * 32,
        prior="78" * 32,
    ),
    "change of rows": entries.Change(
        i=8,
        t=AT_US,
        what="definition.many",
        author="s0123456789abcdef",
        subject="o0123456789abcdef",
        rows={"o0123456789abcdef": "9a" * 32, "o00000000000000ff": "bc" * 32},
    ),
    "erasure": entries.Change(
        i=8,
        t=AT_US,
        what="audit.erase",
        author="s0123456789abcdef",
        subject=AGENT,
        erased=entries.Erased(names=(AGENT, "o0123456789abcdef"), payloads=12, before=0),
        rows={"o00000000000000ff": "bc" * 32},
    ),
    "rotation": entries.Change(
        i=8,
        t=AT_US,
        what="key.rotate",
        author="s0123456789abcdef",
        digest="56" * 32,
        prior="78" * 32,
        rotation=entries.Rotation(
            old="customhouse/x+1a2b3c4d+AbCd/+==",
            next="customhouse/x+5e6f7a8b+AbCe",
            signatures=("MTIz", "NDU2"),
        ),
    ),
}

_hex = "0123456789abcdef"
_rows = st.dictionaries(
    st.text(_hex, min_size=16, max_size=16).map("o".__add__),
    st.text(_hex, min_size=64, max_size=64),
    max_size=4,
)
_plain = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters='"\\'))
_whole = st.integers(0, 10**16 - 1)
_amounts = st.builds(Amounts, _whole, _whole, _whole)
_texts = st.lists(_plain, max_size=4).map(tuple)
_flags = st.dictionaries(_plain, st.booleans(), max_size=4)
_limits = st.lists(st.tuples(_plain, _plain, _plain, _whole), max_size=3).map(tuple)
_rule = st.integers(-1, 10**16 - 1)
_when: dict[str, Any] = {"i": _whole, "t": _whole}
_prior = st.builds(entries.Predecessor, log=_plain, size=_whole, root=_plain)
_erased = st.builds(entries.Erased, names=_texts, payloads=_whole, before=_whole)
_rotation = st.builds(
    entries.Rotation, old=_plain, next=_plain, signatures=st.tuples(_plain, _plain)
)
_by: dict[str, Any] = {
    "call": _plain,
    "who": _plain,
    "tenant": _plain,
    "team": _plain,
    "cred": _plain,
    "method": _plain,
    "server": _plain,
    "kind": st.sampled_from(Kind),
    "act": st.sampled_from(Act),
}

ANY_ENTRY: st.SearchStrategy[entries.Entry] = st.one_of(
    st.builds(
        entries.Open, log=_plain, key=_plain, meter=_plain, prior=st.none() | _prior, **_when
    ),
    st.builds(entries.Close, **_when),
    st.builds(
        entries.Intent,
        round=_whole,
        acc=_texts,
        args=_plain,
        rule=_rule,
        policy=_plain,
        hold=_amounts,
        limits=_limits,
        meter=_plain,
        parent=_plain,
        actors=_texts,
        definition=_plain,
        conds=_flags,
        trace=_plain,
        **_when,
        **_by,
    ),
    st.builds(
        entries.Outcome,
        call=_plain,
        intent=_whole,
        status=st.sampled_from(Status),
        bytes=_whole,
        used=_amounts,
        ms=_whole,
        code=_plain,
        result=_plain,
        by=st.sampled_from(["", "recovery", "drain"]),
        **_when,
    ),
    st.builds(entries.Single, policy=_plain, acc=_texts, count=_whole, **_when, **_by),
    st.builds(
        entries.Refused,
        code=_plain,
        address=_plain,
        acc=_texts,
        args=_plain,
        rule=_rule,
        conds=_flags,
        policy=_plain,
        detail=st.dictionaries(_plain, _whole | _plain, max_size=4),
        **_when,
        **{**_by, "kind": st.none() | _by["kind"], "act": st.none() | _by["act"]},
    ),
    st.builds(
        entries.Folded,
        codes=st.dictionaries(_plain, _whole, max_size=4),
        first=_whole,
        last=_whole,
        count=_whole,
        digest=_plain,
        who=_plain,
        address=_plain,
        **_when,
    ),
    st.builds(entries.Counters, digest=_plain, **_when),
    st.builds(entries.Recovery, reason=_plain, tail=_whole, **_when),
    st.builds(
        entries.Change,
        what=_plain,
        author=_plain,
        subject=_plain,
        digest=_plain,
        prior=_plain,
        note=_plain,
        rows=_rows,
        erased=st.none() | _erased,
        rotation=st.none() | _rotation,
        **_when,
    ),
)

"""The lock file: the same approvals are the same bytes, and nothing else is read."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.lock import BadLock, Lock, Locked, LockedServer, differences, read, write
from gateway.domain.model import Kind

A, B, C = "a" * 64, "b" * 64, "c" * 64
SERVER = LockedServer(
    "time --zone UTC", A, {"tool/now": Locked(B, "uid:1000", "2026-11-25"), "server/": Locked(C)}
)
LOCK = Lock({"time": SERVER, "docs": LockedServer("https://docs.example/mcp", B)})
TEXT = write(LOCK)
GOLDEN = f"""\
# What was approved behind this border, written by: customhouse tool lock
# `customhouse serve --frozen` serves what stands here, and nothing else.

version = 1

[servers.docs]
artifact = "https://docs.example/mcp"
digest = "sha256:{B}"

[servers.docs.definitions]

[servers.time]
artifact = "time --zone UTC"
digest = "sha256:{A}"

[servers.time.definitions]
"server/" = {{ digest = "sha256:{C}", approver = "", date = "" }}
"tool/now" = {{ digest = "sha256:{B}", approver = "uid:1000", date = "2026-11-25" }}
"""

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def test_the_form_of_the_file() -> None:
    assert TEXT == GOLDEN
    assert read(GOLDEN) == LOCK
    assert read(GOLDEN.replace("\n", "\r\n")) == LOCK, "as some editors and checkouts have it"


@given(st.dictionaries(names, st.tuples(names, names), max_size=4))
def test_whatever_servers_call_their_tools_it_is_read_as_it_was_written(
    tools: dict[str, tuple[str, str]],
) -> None:
    definitions = {f"tool/{name}": Locked(A, who) for name, (who, _) in tools.items()}
    artifacts = "".join(artifact for _, artifact in tools.values())
    lock = Lock({"a-b_1": LockedServer(artifacts, B, definitions)})
    assert read(write(lock)) == lock


def test_what_a_reviewer_would_not_see_is_written_out() -> None:
    text = write(Lock({"a": LockedServer("x\u202ey", A, {"tool/a\u200bb\x7f": Locked(A)})}))
    assert "\\U0000202e" in text
    assert "\\U0000200b" in text
    assert tomllib.loads(text)["servers"]["a"]["definitions"].keys() == {"tool/a\u200bb\x7f"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (f"sha256:{C}", f"sha256:{C[:-1]}"),
        (f"sha256:{C}", f"sha256:{C.upper()}"),
        (f"sha256:{C}", C),
        ("version = 1", "version = 2"),
        ("version = 1", "version = true"),
        ("version = 1\n", ""),
        ("tool/now", "tol/now"),
        ("tool/now", "now"),
        ("2026-11-25", "2026-11-32"),
        ("[servers.time]\n", "[servers.Time]\n"),
        ('artifact = "time --zone UTC"\n', ""),
        ('artifact = "time --zone UTC"\n', 'artifact = "time --zone UTC"\nmore = 1\n'),
        ('artifact = "time --zone UTC"', "artifact = 7"),
        ('approver = ""', 'approver = "", note = "ok"'),
        ('date = "" }', "}"),
        ("[servers.docs.definitions]\n\n", ""),
        ("# What", "# So what"),
        ("version = 1\n", "version = 1 # mine\n"),
        ('"server/"', "'server/'"),
        ('"tool/now"', '"tool/no\\u0077"'),
        ("\n[servers.docs]", "\n\n[servers.docs]"),
        ("version = 1\n", "version = 1\nservers = 3\n"),
        (TEXT, ""),
        (TEXT, "{}"),
        (TEXT, "version = 1\nservers = 3\n"),
    ],
)
def test_a_lock_that_was_edited_by_hand_is_not_read(old: str, new: str) -> None:
    assert old in TEXT
    with pytest.raises(BadLock):
        read(TEXT.replace(old, new, 1))


def test_only_what_is_locked_of_an_unchanged_server_is_permitted() -> None:
    assert LOCK.permitted({"time": A, "docs": B, "new": C}) == {
        ("time", Kind.TOOL, "now"): B,
        ("time", Kind.SERVER, ""): C,
    }
    assert LOCK.permitted({"time": B}) == {}, "another command under the same name"
    assert LOCK.permitted({}) == {}


def test_differences_are_told_by_object() -> None:
    other = LockedServer("time", B, {"tool/now": Locked(A, "uid:7", "2026-01-01")})
    found = {one.object: one.says for one in differences(LOCK, Lock({"time": other}))}
    assert found == {
        "server/docs": "is in the lock, and not approved",
        "server/time": "is not what the lock says",
        "server/time/": "is in the lock, and not approved",
        "tool/time/now": "is not what the lock says",
    }
    assert [one.says for one in differences(Lock(), Lock({"docs": LOCK.servers["docs"]}))] == [
        "is approved, and not in the lock"
    ]


def test_who_approved_and_when_makes_no_difference() -> None:
    again = LockedServer("", A, {k: Locked(v.digest) for k, v in SERVER.definitions.items()})
    assert differences(Lock({"time": SERVER}), Lock({"time": again})) == []


def test_models_and_skills_are_in_it_under_the_names_that_policy_has_for_them() -> None:
    lock = Lock(
        {
            "billing": LockedServer("card", A, {"peer/quote": Locked(B), "server/": Locked(C)}),
            "gpt": LockedServer("gpt-5-mini at x", A, {"model/gpt": Locked(B)}),
        }
    )
    assert read(write(lock)) == lock
    assert lock.permitted({"billing": A, "gpt": A}) == {
        ("billing", Kind.PEER, "quote"): B,
        ("billing", Kind.SERVER, ""): C,
        ("gpt", Kind.MODEL, "gpt"): B,
    }
    assert [one.object for one in differences(lock, Lock())] == [
        "model/gpt",
        "peer/billing/quote",
        "server/billing",
        "server/billing/",
        "server/gpt",
    ]

"""Whose right is one of every tenant: by rules of `*`, and by roles that the platform gave."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.domain.model import Act, Call, CallClass, Kind, Principal
from gateway.policy.files import PolicySource
from gateway.policy.load import compile as compile_policy
from gateway.policy.snapshot import Snapshot
from tests.policy.made import MODEL


def policy(
    platform: str, acme: str = "", bindings: tuple[tuple[str, str, str], ...] = ()
) -> Snapshot:
    files = {"model.conf": MODEL, "policy.csv": platform.encode()}
    if acme:
        files["tenants/acme.csv"] = acme.encode()
    return compile_policy(PolicySource(files), bindings)


def asks(subject: str, *roles: str, act: Act = Act.READ) -> Call:
    who = Principal("acme", subject, roles=frozenset(roles))
    return Call("", who, "", Kind.ADMIN, "", "entries", act, CallClass.SINGLE)


EVERYWHERE = "p, auditor, *, admin/entries, read, -, allow\n"


@pytest.mark.parametrize(
    ("snapshot", "call", "spans"),
    [
        pytest.param(policy(EVERYWHERE, bindings=(("ann", "auditor", "acme"),)), asks("ann"), True, id="a role of the configuration"),
        pytest.param(policy(EVERYWHERE + "g, ann, auditor, acme\n"), asks("ann"), True, id="a role of policy.csv"),
        pytest.param(policy(EVERYWHERE), asks("corp/ann", "auditor"), True, id="a role of a token"),
        pytest.param(policy("p, ann, *, admin/*, *, -, allow\n"), asks("ann"), True, id="a rule that names her"),
        pytest.param(policy(EVERYWHERE, "g, ann, auditor, acme\n"), asks("ann"), False, id="a role of the tenant's file"),
        pytest.param(
            policy(EVERYWHERE + "g, boss, auditor, acme\n", "g, ann, boss, acme\n"), asks("ann"), False,
            id="a role of the tenant's file that leads to one of policy.csv",
        ),
        pytest.param(policy("p, ann, acme, admin/entries, read, -, allow\n"), asks("ann"), False, id="a rule of one tenant"),
        pytest.param(policy(EVERYWHERE, bindings=(("ann", "auditor", "default"),)), asks("ann"), False, id="a role in another tenant"),
        pytest.param(policy(EVERYWHERE + "p, x, *, tool/*, call, -, allow\n"), asks("ann"), False, id="nobody"),
        pytest.param(
            policy(EVERYWHERE + "p, *, *, admin/*, *, -, deny\n", bindings=(("ann", "auditor", "acme"),)),
            asks("ann"), False, id="a deny in every tenant",
        ),
    ],
)  # fmt: skip
def test_a_right_spans_tenants_by_what_the_platform_says(
    snapshot: Snapshot, call: Call, spans: bool
) -> None:
    assert snapshot.spans_tenants(call, 0) is spans


def test_the_tenants_own_role_still_gives_the_right_in_the_tenant() -> None:
    snapshot = policy(EVERYWHERE, "g, ann, auditor, acme\n")
    assert snapshot.decide(asks("ann"), 0).verdict == "allow"
    assert snapshot.decide(asks("ann", act=Act.ADMIN), 0).verdict == "deny"


def test_whoever_acts_for_others_spans_what_each_of_them_spans() -> None:
    snapshot = policy(EVERYWHERE, bindings=(("ann", "auditor", "acme"), ("eve", "auditor", "acme")))
    alone = asks("ann")
    for actors, spans in ((("eve",), True), (("bob",), False), (("eve", "bob"), False)):
        call = replace(alone, principal=replace(alone.principal, actors=actors))
        assert snapshot.spans_tenants(call, 0) is spans

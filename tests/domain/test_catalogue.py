"""The catalogue: what can be found, what is listed, and who owns a URI."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import pytest

from gateway.domain.catalogue import Catalogue, ServerView
from gateway.domain.model import Act, Approval, Call, CallClass, Definition, Kind, Principal

APPROVED, PROPOSED, QUARANTINED = Approval.APPROVED, Approval.PROPOSED, Approval.QUARANTINED


def define(
    server: str, name: str, approval: Approval = APPROVED, kind: Kind = Kind.TOOL, wire: str = ""
) -> Definition:
    wire_name = wire or (f"{server}_{name}" if kind in (Kind.TOOL, Kind.PROMPT) else name)
    return Definition(server, kind, name, wire_name, b"{}", "d", approval)


def catalogue(*definitions: Definition, suspended: str = "") -> Catalogue:
    servers = {
        name: ServerView(suspended=name == suspended)
        for name in sorted({d.server for d in definitions})
    }
    return Catalogue(1, definitions, servers)


def resource(server: str, uri: str, approval: Approval = APPROVED) -> Definition:
    return define(server, uri, approval, Kind.RESOURCE)


def template(server: str, text: str, approval: Approval = APPROVED) -> Definition:
    return define(server, text, approval, Kind.TEMPLATE)


def test_an_empty_catalogue_has_nothing() -> None:
    empty = Catalogue(0)
    assert empty.find("docs", Kind.TOOL, "get") is None
    assert empty.listing(Kind.TOOL) == ()
    assert empty.resource_owner("x://a") == []
    assert empty.serves("")
    assert not empty.serves("docs")


def test_a_definition_is_found_by_its_own_name_and_by_its_wire_name_whatever_its_approval() -> None:
    for approval in Approval:
        get = define("docs", "get", approval)
        assert catalogue(get).find("docs", Kind.TOOL, "get") is get
        assert catalogue(get).by_wire(Kind.TOOL, "docs_get") is get
        assert catalogue(get).by_wire(Kind.PROMPT, "docs_get") is None


def test_lists_hold_only_what_is_approved_in_the_order_of_wire_names() -> None:
    b, a, other = define("b", "x"), define("a", "y"), define("a", "z", PROPOSED)
    hidden = define("a", "w", QUARANTINED)
    for order in ((b, a, other, hidden), (hidden, other, a, b)):
        assert catalogue(*order).listing(Kind.TOOL) == (a, b)
        assert catalogue(*order).listing(Kind.TOOL, "a") == (a,)
        assert catalogue(*order).listing(Kind.TOOL, "nobody") == ()


def test_a_suspended_server_is_in_no_list_and_owns_nothing_but_is_still_found() -> None:
    get, page = define("docs", "get"), resource("docs", "x://page")
    suspended = catalogue(get, page, suspended="docs")
    assert suspended.listing(Kind.TOOL) == suspended.listing(Kind.RESOURCE, "docs") == ()
    assert suspended.resource_owner("x://page") == []
    assert not suspended.serves("docs")
    assert suspended.find("docs", Kind.TOOL, "get") is get


def test_a_definition_of_a_server_nobody_knows_is_never_listed() -> None:
    assert Catalogue(1, (define("ghost", "get"),), {}).listing(Kind.TOOL) == ()


def test_two_approved_tools_of_one_wire_name_are_never_a_silent_shadow() -> None:
    with pytest.raises(ValueError, match="a_b_c"):
        catalogue(define("a", "b_c"), define("a_b", "c"))


@pytest.mark.parametrize("newcomer", [PROPOSED, QUARANTINED])
def test_a_newcomer_that_wants_a_taken_wire_name_does_not_get_it(newcomer: Approval) -> None:
    first, second = define("z", "pay", wire="pay"), define("a", "pay", newcomer, wire="pay")
    for order in ((first, second), (second, first)):
        assert catalogue(*order).by_wire(Kind.TOOL, "pay") is first


def test_the_same_definition_twice_is_a_fault() -> None:
    with pytest.raises(ValueError, match="two definitions"):
        catalogue(define("docs", "get"), define("docs", "get", PROPOSED))


def test_several_servers_may_list_one_uri_and_all_are_named() -> None:
    both = catalogue(resource("b", "x://page"), resource("a", "x://page"), resource("c", "x://c"))
    assert both.resource_owner("x://page") == ["a", "b"]


def test_a_template_owns_what_it_expands_to() -> None:
    docs = catalogue(template("docs", "x://{page}"), template("wiki", "x://{+path}"))
    assert docs.resource_owner("x://page") == ["docs", "wiki"]
    assert docs.resource_owner("x://page/2") == ["wiki"]
    assert docs.resource("docs", "x://page") is docs.definitions[0]
    assert docs.resource("docs", "x://page/2") is None


def test_a_template_opens_no_way_around_a_quarantined_resource() -> None:
    secret = resource("docs", "x://secret", QUARANTINED)
    docs = catalogue(template("docs", "x://{page}"), secret)
    assert docs.resource("docs", "x://secret") is secret
    assert docs.resource_owner("x://secret") == []


def test_a_template_that_is_not_approved_owns_nothing_but_says_why() -> None:
    proposed = template("docs", "x://{page}", PROPOSED)
    docs = catalogue(proposed)
    assert docs.resource_owner("x://page") == []
    assert docs.resource("docs", "x://page") is proposed


def test_an_approved_template_is_preferred_to_one_that_is_not() -> None:
    proposed, approved = template("docs", "x://{+a}", PROPOSED), template("docs", "x://{page}")
    assert catalogue(proposed, approved).resource("docs", "x://page") is approved


def test_a_uri_that_climbs_is_owned_only_by_who_lists_exactly_it() -> None:
    climbing = "file:///repo/../etc/passwd"
    assert catalogue(template("docs", "file:///repo/{+path}")).resource_owner(climbing) == []
    assert catalogue(resource("docs", climbing)).resource_owner(climbing) == ["docs"]


def test_a_template_that_cannot_be_read_takes_nothing_else_down() -> None:
    docs = catalogue(template("docs", "x://{"), template("docs", "y://{page}"))
    assert docs.resource_owner("y://a") == ["docs"]


def call(kind: Kind, name: str, definition: Definition | None) -> Call:
    return Call(
        "C1", Principal("default", "bot"), "m", kind, "docs", name, Act.READ, CallClass.FULL,
        definition=definition,
    )  # fmt: skip


def test_a_call_is_pinned_again_by_the_catalogue_of_the_moment() -> None:
    get, changed = define("docs", "get"), replace(define("docs", "get"), digest="d2")
    assert catalogue(changed).current(call(Kind.TOOL, "get", get)) is changed
    assert Catalogue(2).current(call(Kind.TOOL, "get", get)) is None
    assert catalogue(changed).current(call(Kind.TOOL, "get", None)) is None


def test_a_resource_read_through_a_template_notices_that_it_was_quarantined_meanwhile() -> None:
    pages = template("docs", "x://{page}")
    reading = call(Kind.RESOURCE, "x://secret", pages)
    assert catalogue(pages).current(reading) is pages
    quarantined = resource("docs", "x://secret", QUARANTINED)
    assert catalogue(pages, quarantined).current(reading) is quarantined


def test_completing_a_template_is_pinned_by_the_template_itself() -> None:
    pages = template("docs", "x://{page}")
    assert catalogue(pages).current(call(Kind.TEMPLATE, "x://{page}", pages)) is pages


def test_a_catalogue_is_never_changed_only_replaced() -> None:
    with pytest.raises(FrozenInstanceError):
        Catalogue(1).version = 2  # type: ignore[misc]  # that it fails is the point

"""Which limits lie on a call is looked up at that moment."""

from pathlib import Path

from gateway.app.limits import LimitsBook
from gateway.config import load, server_from
from gateway.domain.model import Principal
from gateway.store.identity import Agent, Identity
from gateway.store.pseudonyms import OBJECT, SUBJECT, TEAM, TENANT, Pseudonyms

ANN = Principal(tenant="default", subject="ann", team="reporting")


def test_a_server_that_is_added_later_brings_its_limits(tmp_path: Path) -> None:
    config = load(None, {"CUSTOMHOUSE__POLICIES": str(tmp_path)})
    servers = dict(config.servers)
    book = LimitsBook(config, servers, Identity(), Pseudonyms())
    assert book.of(ANN, "late") == (None, None, None, None)

    table = {"url": "http://127.0.0.1:1/mcp", "limits": {"rate": "2/hour"}}
    servers["late"] = server_from("late", table, tmp_path)
    limits = book.of(ANN, "late")[3]
    assert limits is not None
    assert str(limits.rate) == "2/hour"


def test_the_same_limits_are_found_from_the_pseudonyms_of_an_entry(tmp_path: Path) -> None:
    (tmp_path / "customhouse.toml").write_text(
        'policies = "."\n[tenants.default]\nrate = "9/min"\n[teams.reporting]\nrate = "8/min"\n'
        '[servers.docs]\nurl = "http://127.0.0.1:1/mcp"\nlimits = { rate = "7/min" }\n'
    )
    config = load(tmp_path / "customhouse.toml", {})
    identity, names = Identity(), Pseudonyms()
    identity.set_agent(Agent("ann", team="reporting", limits=config.tenants["default"].limits))
    book = LimitsBook(config, config.servers, identity, names)
    accounts = (
        names.of(TENANT, "default"),
        names.of(TEAM, "default/reporting"),
        names.of(SUBJECT, "ann"),
        names.of(OBJECT, "default tool/docs/get_page"),
    )
    assert book.of_accounts(accounts) == book.of(ANN, "docs")
    assert [str(limit.rate) for limit in book.of(ANN, "docs") if limit] == [
        "9/min",
        "8/min",
        "9/min",
        "7/min",
    ]

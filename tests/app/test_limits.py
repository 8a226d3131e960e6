"""Which limits lie on a call is looked up at that moment."""

from pathlib import Path

from gateway.app.limits import LimitsBook
from gateway.app.wiring import all_servers
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
    assert book.of_accounts((*accounts, "r1", "j1")) == (*book.of(ANN, "docs"), None, None)
    assert [str(limit.rate) for limit in book.of(ANN, "docs") if limit] == [
        "9/min",
        "8/min",
        "9/min",
        "7/min",
    ]


def test_models_and_peers_have_limits_like_servers(tmp_path: Path) -> None:
    (tmp_path / "customhouse.toml").write_text(
        '[models.gpt]\nurl = "http://127.0.0.1:1/v1"\nmodel = { id = "x" }\nrate = "1/s"\n'
        '[peers.billing]\nurl = "http://127.0.0.1:1/card"\nrate = "2/s"\n'
    )
    config = load(tmp_path / "customhouse.toml", {})
    names = Pseudonyms()
    book = LimitsBook(config, all_servers(config, {}), Identity(), names)
    for name, named, rate in (
        ("gpt", "model/gpt", "1/s"),
        ("billing", "peer/billing/quote", "2/s"),
    ):
        limits = book.of(ANN, name)[3]
        assert limits is not None
        assert str(limits.rate) == rate
        accounts = (
            names.of(TENANT, "default"),
            names.of(TEAM, ""),
            names.of(SUBJECT, "ann"),
            names.of(OBJECT, f"default {named}"),
        )
        assert book.of_accounts(accounts)[3] == limits

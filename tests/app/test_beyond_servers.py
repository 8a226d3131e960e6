"""What is made of the models and peers of the file: transports with their secrets, rows, locks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.app.artifact import artifact_digest, artifact_shown
from gateway.app.operations.affording import unaffordable
from gateway.app.operations.budgets import accounts
from gateway.app.operations.places import object_of, place_of
from gateway.app.operations.presence import absent, unresolved
from gateway.app.operations.reading import read_house
from gateway.app.operations.showing import server_rows
from gateway.app.operations.slips import unknown_skills
from gateway.app.wiring import server_spec
from gateway.config import Config, Rules, load
from gateway.domain.model import Approval, Kind, ModelTerms
from gateway.store.pins import Pin
from gateway.upstream.signature import CallSigner
from gateway.upstream.spec import HttpTransport, ModelTransport, PeerTransport, ServerSpec

TEXT = """\
data_dir = "./data"
keys_dir = "./keys"
[servers.time]
command = ["python3"]
[models.gpt]
url = "https://api.example.com/v1?key=x"
auth = "env:OPENAI_KEY"
model = { id = "gpt-5-mini" }
max_result_tokens = 99
timeout_s = 5
[peers.billing]
url = "https://billing.example.com/card.json"
auth = "env:BILLING"
jwks = "file:keys.json"
rules = { max_bytes = 9, schema = "file:message.json" }
budget = { tokens = "5/day" }
[agents.worker]
jwks = "file:worker.json"
budget = { tokens = "50/day" }
"""


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "customhouse.toml").write_text(TEXT)
    (tmp_path / "message.json").write_text('{"type": "object", "required": ["order"]}')
    return load(tmp_path / "customhouse.toml", {})


def _spec(config: Config, name: str, environ: dict[str, str]) -> ServerSpec:
    signer = CallSigner(bytes(32), "", lambda: 0)
    return server_spec(name, config.upstreams[name], environ, signer, declared=True)


def test_a_model_is_reached_with_its_secret_and_bounds(config: Config) -> None:
    spec = _spec(config, "gpt", {"OPENAI_KEY": "sk-1"})
    assert spec.timeout_s == 5.0
    assert spec.transport == ModelTransport(
        HttpTransport("https://api.example.com/v1?key=x", "Bearer sk-1", allow_private=True),
        ModelTerms("gpt-5-mini"),
        99,
    )
    assert "sk-1" not in repr(spec)


def test_a_peer_is_reached_by_its_card_and_held_to_its_rules(config: Config) -> None:
    transport = _spec(config, "billing", {"BILLING": "secret"}).transport
    assert isinstance(transport, PeerTransport)
    assert transport.card.auth_header_value == "Bearer secret"
    assert Path(str(transport.jwks)).name == "keys.json"
    validate = transport.rules.validate
    assert transport.rules.max_bytes == 9
    assert validate is not None
    assert validate({"order": 1}) is None
    assert validate({}) is not None


@pytest.mark.parametrize("name", ["gpt", "billing"])
def test_one_whose_secret_is_missing_never_goes_bare(config: Config, name: str) -> None:
    transport = _spec(config, name, {}).transport
    assert isinstance(transport, ModelTransport | PeerTransport)
    place = transport.api if isinstance(transport, ModelTransport) else transport.card
    assert place.auth_missing


def test_secrets_and_files_that_are_not_there_are_told(config: Config) -> None:
    told = [said["what"] for said in unresolved(config.upstreams, {})]
    assert [said.partition(":")[0] for said in told] == ["model gpt", "peer billing"]
    assert [said.partition(":")[0] for said in absent(config)] == [
        "peers.billing.jwks",
        "agents.worker.jwks",
    ]


def test_they_are_listed_with_the_servers(config: Config) -> None:
    rows = {row["name"]: row for row in server_rows(read_house(config))}
    assert {name: (row["kind"], row["prefix"], row["approve"]) for name, row in rows.items()} == {
        "billing": ("peer", "a2a_billing", "ask"),
        "gpt": ("model", "", "first-seen"),
        "time": ("server", "time", "ask"),
    }
    assert rows["gpt"]["target"] == "gpt-5-mini at https://api.example.com/v1"
    assert rows["billing"]["limits"] == ["tokens 5/day"]


def _short(folder: Path, text: str) -> list[str]:
    """What is said of the budgets in a file of *text*."""
    (folder / "customhouse.toml").write_text(text)
    config = load(folder / "customhouse.toml", {})
    house = read_house(config)
    return list(unaffordable(config, house.identity.agents.values(), house.servers))


def test_a_budget_below_the_smallest_answer_of_all_that_it_pays_for_is_told(
    config: Config, tmp_path: Path
) -> None:
    said = _short(tmp_path, TEXT)
    assert [one.partition(":")[0] for one in said] == [
        "agents.worker.budget",
        "peers.billing.budget",
    ]
    assert "50 tokens per day cover no call, because 99 and more" in said[0]
    assert len(_short(tmp_path, TEXT.replace("50/day", "99/day"))) == 1


PRICED = (
    'model = { id = "m", prompt = 150000, completion = 600000 }\nurl = "https://h.example/v1"\n'
)
SHORT = {
    "a model silences nothing": ('[agents.a]\nbudget = { tokens = "500/day" }', "agents.a.budget", "4096"),
    "cost of an agent": ('[agents.a]\nbudget = { cost = "10/day" }', "agents.a.budget", "2458"),
    "cost of a tenant": ('[tenants.default]\nbudget = { cost = "10/day" }', "tenants.default.budget", "2458"),
    "cost of the model itself": ('[models.gpt]\nbudget = { cost = "10/day" }', "models.gpt.budget", "2458"),
    "tokens of a run": ("[runs]\ntokens = 10", "runs.tokens", "4096"),
    "cost of a run": ("[runs]\ncost = 10", "runs.cost", "2458"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "place", "held"), SHORT.values(), ids=SHORT.keys())
def test_each_budget_that_covers_no_call_is_told_with_what_is_held(
    tmp_path: Path, text: str, place: str, held: str
) -> None:
    model = "" if "[models.gpt]" in text else "\n[models.gpt]"
    server = '[servers.free]\ncommand = ["python3"]\n'
    (said,) = _short(tmp_path, f"{server}{text}{model}\n{PRICED}")
    assert said.startswith(f"{place}: ")
    assert f"because {held} and more are held" in said


def test_only_what_costs_something_is_paid_for_by_a_budget_of_cost(tmp_path: Path) -> None:
    text = '[servers.s]\ncommand = ["python3"]\nprice = PRICE\n'
    text += '[agents.a]\nbudget = { cost = "1/day" }\n[runs]\ncost = 1\n'
    assert _short(tmp_path, text.replace("PRICE", "0")) == []
    assert len(_short(tmp_path, text.replace("PRICE", '{ "x" = 9 }'))) == 2


def test_a_skill_that_rules_name_and_the_card_has_not_is_told_once_the_card_was_seen(
    config: Config,
) -> None:
    rules = Rules(skills=("qoute", "pay*"))
    config = replace(config, peers={"billing": replace(config.peers["billing"], rules=rules)})
    house = read_house(config)
    assert list(unknown_skills(config, house)) == []
    for skill in ("quote", "payout"):
        place = ("billing", Kind.PEER, skill)
        house.registry.pins[place] = Pin(place, "d", b"{}", Approval.PROPOSED)
    (said,) = unknown_skills(config, house)
    assert said == "peers.billing.rules: the card has no skill 'qoute'; did you mean 'quote'?"


def test_a_lock_pins_where_they_are_and_who_signs_for_them(config: Config, tmp_path: Path) -> None:
    gpt, billing = config.models["gpt"], config.peers["billing"]
    assert artifact_shown(gpt) == "gpt-5-mini at https://api.example.com/v1"
    before = [artifact_digest(one, config) for one in (gpt, billing)]
    cheaper = replace(gpt, terms=replace(gpt.terms, prompt_micros=7))
    assert artifact_digest(cheaper, config) == before[0], "a price is not what answers"
    assert artifact_digest(replace(gpt, url="https://b.example"), config) != before[0]
    other = replace(gpt, terms=ModelTerms("gpt-5"))
    assert artifact_digest(other, config) != before[0]
    (tmp_path / "keys.json").write_text(json.dumps({"keys": []}))
    assert artifact_digest(billing, config) != before[1]


def test_the_accounts_of_models_and_skills_are_found_by_their_names(config: Config) -> None:
    limited = replace(config.models["gpt"], limits=config.peers["billing"].limits)
    house = read_house(replace(config, models={"gpt": limited}))
    tools = {
        "default model/gpt": "o1",
        "default peer/billing/quote": "o2",
        "default admin/gpt": "o3",
    }
    found = [account.name for account in accounts(house, {}, tools) if account.level == "tool"]
    assert found == ["model/gpt (default)", "peer/billing/quote (default)"]


@pytest.mark.parametrize(
    "place", [("gpt", Kind.MODEL, "gpt"), ("billing", Kind.PEER, "a/b"), ("docs", Kind.TOOL, "x")]
)
def test_what_people_are_shown_they_can_say(place: tuple[str, Kind, str]) -> None:
    assert place_of(object_of(place)) == place

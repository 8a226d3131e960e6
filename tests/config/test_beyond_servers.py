"""Models, peers, keys of agents and the limits of runs, as the file declares them."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.app.wiring import all_servers, server_terms
from gateway.config import Approve, ConfigError, Model, Peer, Rules, check_exposure
from gateway.domain.budget import Limits
from gateway.domain.model import ModelTerms
from gateway.domain.rate import Rate
from gateway.domain.run import RunLimits
from gateway.store.identity import NameTaken
from tests.config.reading import read, refused

MODEL = '[models.gpt]\nurl = "https://api.example.com/v1"\n'
TERMS = 'model = { id = "gpt-5-mini" }\n'
PEER = '[peers.billing]\nurl = "https://billing.example.com/card.json"\n'
SERVER = '[servers.{}]\ncommand = ["x"]\n'


def test_a_model_is_where_it_is_and_what_it_costs(folder: Path) -> None:
    more = (
        'auth = "env:OPENAI_KEY"\nmax_result_tokens = 99\ncache = 60\ntimeout_s = 5\n'
        'tags = { "*" = ["egress"] }\nrate = "10/s"\nbudget = { cost = "5M/day" }\n'
        'model = { id = "gpt-5-mini", class = "small", context = 8000, prompt = 150000,'
        " completion = 600000, underreport = 20 }\n"
    )
    assert read(folder, MODEL + more).models["gpt"] == Model(
        url="https://api.example.com/v1",
        terms=ModelTerms("gpt-5-mini", "small", 8000, 150_000, 600_000, 20),
        max_result_tokens=99,
        cache=60,
        max_result_bytes=16_777_216,
        timeout_s=5.0,
        auth="env:OPENAI_KEY",
        tags=(("*", ("egress",)),),
        limits=Limits(Rate(10, 1_000_000), {("cost", "day"): 5_000_000}),
    )


def test_all_but_the_id_of_a_model_may_be_left_out(folder: Path) -> None:
    model = read(folder, MODEL + TERMS).models["gpt"]
    assert (model.terms, model.max_result_tokens, model.limits) == (
        ModelTerms("gpt-5-mini"),
        4_096,
        None,
    )


def test_a_peer_is_where_its_card_is_and_what_it_may_be_sent(folder: Path) -> None:
    more = (
        'auth = "env:BILLING"\njwks = "file:keys.json"\nprefix = "bill"\napprove = "first-seen"\n'
        'tools = ["quote*"]\nprice = { "quote" = 7 }\nrate = "1/s"\n'
        'rules = { max_bytes = 99, depth = 3, data = ["public"], skills = ["quote"],'
        ' schema = "file:message.json" }\n'
    )
    assert read(folder, PEER + more).peers["billing"] == Peer(
        url="https://billing.example.com/card.json",
        prefix="bill",
        max_result_tokens=(("*", 25_000),),
        price=(("quote", 7), ("*", 0)),
        max_result_bytes=16_777_216,
        timeout_s=60.0,
        auth="env:BILLING",
        jwks=f"file:{folder / 'keys.json'}",
        rules=Rules(99, 3, ("public",), ("quote",), folder / "message.json"),
        tools=("quote*",),
        approve=Approve.FIRST_SEEN,
        limits=Limits(Rate(1, 1_000_000)),
    )


def test_a_peer_has_the_name_as_prefix_and_no_rules_unless_it_says_so(folder: Path) -> None:
    peer = read(folder, PEER).peers["billing"]
    assert (peer.prefix, peer.rules, peer.approve) == ("billing", Rules(), Approve.ASK)


@pytest.mark.parametrize(
    "text", ["[runs]\ndepth = 2\ncost = 9\n", "runs = { depth = 2, cost = 9 }\n"]
)
def test_what_is_not_said_of_runs_is_as_it_was(folder: Path, text: str) -> None:
    assert read(folder, text).runs == RunLimits(depth=2, cost=9)
    assert read(folder, "").runs == RunLimits()


def test_one_limit_of_runs_can_be_overridden_from_outside(folder: Path) -> None:
    environ = {"CUSTOMHOUSE__RUNS__DEPTH": "3"}
    config = read(folder, "[runs]\ndepth = 2\ncalls = 5\n", environ)
    assert config.runs == RunLimits(depth=3, calls=5)


def test_an_agent_proves_itself_with_keys_from_a_file(folder: Path) -> None:
    config = read(folder, 'listen = "0.0.0.0:80"\n[agents.worker]\njwks = "file:worker.json"\n')
    assert config.agents["worker"].jwks == f"file:{folder / 'worker.json'}"
    check_exposure(config, issued_keys=0)


REFUSED = {
    "a model without a url": ("[models.gpt]\n" + TERMS, "models.gpt", "has no url"),
    "a model without terms": (MODEL, "models.gpt", "has no model"),
    "terms without an id": (MODEL + 'model = { class = "small" }\n', ".model", "calls it"),
    "a size nobody knows": (MODEL + 'model = { id = "x", class = "huge" }\n', ".model", "class: "),
    "a price below nothing": (MODEL + 'model = { id = "x", prompt = -1 }\n', ".model", "prompt: "),
    "more than all": (MODEL + 'model = { id = "x", underreport = 101 }\n', ".model", "from 0 to"),
    "a term of another name": (MODEL + 'model = { id = "x", price = 1 }\n', ".model", "'price'"),
    "a secret as id": (MODEL + TERMS + 'auth = "sk-1"\n', ".auth", "by reference only"),
    "per tool": (MODEL + TERMS + 'cache = { "*" = 1 }\n', ".cache", "whole number"),
    "a peer without a card": ("[peers.b]\n", "peers.b", "has no url"),
    "keys in the clear": (PEER + 'jwks = "http://h.example/k"\n', ".jwks", "https"),
    "a rule of another name": (PEER + "rules = { size = 1 }\n", ".rules", "'size'"),
    "a schema from afar": (PEER + 'rules = { schema = "https://x/y" }\n', ".rules", "schema: "),
    "rules that are no table": (PEER + "rules = []\n", ".rules", "a table of some of"),
    "a run of weeks": ("[runs]\nwall_s = 604801\n", "runs", "wall_s: "),
    "a limit of another name": ("[runs]\ndeep = 1\n", "runs", "'deep'"),
    "an agent's keys from afar": ('[agents.a]\njwks = "https://x/y"\n', ".jwks", "a file of"),
    "a model like a server": (MODEL + TERMS + SERVER.format("gpt"), "models.gpt", "servers.gpt"),
    "a peer like a model": (MODEL + TERMS + PEER.replace("billing", "gpt"), "peers.gpt", "models."),
    "alike but for a line": (
        PEER.replace("billing", "a-b") + SERVER.format("a_b"),
        "peers.a-b",
        "same name",
    ),
    "a server that is called like a peer's skills": (
        PEER + SERVER.format("s") + 'prefix = "a2a_billing"\n',
        "peers.billing.prefix",
        "same prefix",
    ),
}


@pytest.mark.parametrize(("text", "where", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_what_makes_no_sense_is_refused_where_it_stands(
    folder: Path, text: str, where: str, said: str
) -> None:
    err = refused(folder, text)
    assert where in err.where
    assert said in err.what


def test_a_credential_that_crosses_the_network_in_the_clear_is_told(folder: Path) -> None:
    text = MODEL.replace("https", "http") + TERMS + 'auth = "env:A"\n'
    text += PEER.replace("https", "http") + 'auth = "env:B"\n'
    assert [said.partition(":")[0] for said in read(folder, text).warnings] == [
        "models.gpt.url",
        "peers.billing.url",
    ]


URLS = {
    "a path that is added": (MODEL.replace("/v1", "/v1/chat/completions") + TERMS, "/chat/completions is added"),
    "the same with a slash": (MODEL.replace("/v1", "/v1/embeddings/") + TERMS, "/embeddings is added"),
    "an agent in the place of its card": (PEER.replace("/card.json", ""), "leads to no card"),
    "the root of one": (PEER.replace("card.json", ""), "leads to no card"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "said"), URLS.values(), ids=URLS.keys())
def test_a_url_that_leads_past_what_is_meant_is_worth_a_look(
    folder: Path, text: str, said: str
) -> None:
    (warning,) = read(folder, text).warnings
    assert said in warning
    assert read(folder, MODEL + TERMS + PEER).warnings == ()


@pytest.mark.parametrize("price", ["0.15", '"0.15"', '"150k"', "-1", "true"])
def test_a_price_in_another_unit_is_told_the_unit(folder: Path, price: str) -> None:
    err = refused(folder, MODEL + f'model = {{ id = "x", prompt = {price} }}\n')
    assert "prompt: expected micro-units for a million tokens" in err.what
    assert "0.15 for a million tokens is 150_000" in err.what


def test_a_server_of_the_registry_may_not_be_called_like_a_model(folder: Path) -> None:
    config = read(folder, MODEL + TERMS)
    with pytest.raises(NameTaken):
        all_servers(config, {"gpt": '{"command": ["x"]}'})


def test_a_broken_schema_of_messages_is_told_before_anything_opens(folder: Path) -> None:
    config = read(folder, PEER + 'rules = { schema = "file:message.json" }\n')
    for broken in ("", '{"type": 7}'):
        (folder / "message.json").write_text(broken)
        with pytest.raises(ConfigError, match=r"message\.json"):
            server_terms(config.peers["billing"])

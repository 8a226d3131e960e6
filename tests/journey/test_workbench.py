"""A policy made smaller by what a real gateway's log says was used, and put in force while it runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.journey.guarded import AGENT_KEY, Guarded, guarded

pytestmark = pytest.mark.slow
ODD = "eve, default, tool/desk/*, call, -, allow"  # a subject, as an issuer may give it

WHERE = "tool/desk/where"
REFUSED = "Policy does not allow this call"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with guarded(tmp_path_factory.mktemp("workbench")) as house:
        yield house


def asked(house: Guarded, code: int, *words: str) -> Any:
    found, said, complaint = house.customhouse("policy", *words, "--json")
    assert found == code, said + complaint
    return json.loads(said)


def test_the_policy_shrinks_to_what_was_used_and_nobody_notices(house: Guarded) -> None:
    writer = house.corp.token(house.resource, sub="alice", scope="tools.write")
    odd = house.corp.token(house.resource, sub=ODD, scope="tools.read")
    for token in (AGENT_KEY, odd):
        assert house.call(token).status_code == 200
    shouted = house.call(writer, "desk_shout", text="hello")
    assert "HELLO" in shouted.text
    for token in (AGENT_KEY, odd):
        assert REFUSED in house.call(token, "desk_where").text

    unused = asked(house, 1, "unused", "since:1h")
    assert unused["calls"] == 5
    assert [one["text"].split(", ")[3] for one in unused["rules"]] == [
        "tool/desk/block",
        "tool/desk/where",
        "tool/desk/add",
        "tool/desk/fail",
    ]
    additions = asked(house, 0, "suggest", "--from", "refused")["additions"]
    lines = {one["subject"]: one["line"] for one in additions}
    assert lines == {
        "clerk": f"p, clerk, default, {WHERE}, call, -, allow",
        f"corp/{ODD}": "",
    }

    code, told, complaint = house.customhouse("policy", "suggest")
    assert code == 0, complaint
    draft = house.folder / "draft"
    shutil.copytree(house.folder / "policies", draft)
    (draft / "policy.csv").write_text(told)
    assert (
        len([line for line in told.splitlines() if line.startswith("p, ")]) == 3
    )  # list, add, shout
    simulated = asked(house, 0, "simulate", str(draft))
    assert (simulated["calls"], simulated["changes"]) == (5, [])
    (draft / "conditions.toml").write_text("[direct]\nactors = { empty = true }\n")
    (draft / "policy.csv").write_text(f"{told}p, reader, default, {WHERE}, call, direct, allow\n")
    simulated = asked(house, 1, "simulate", str(draft))
    assert [(one["agent"], one["change"]) for one in simulated["changes"]] == [("clerk", "gains")]
    assert simulated["not_simulated"] == {"on whose behalf it was made is not in the log": 1}

    (house.folder / "policies" / "policy.csv").write_text(told)
    assert house.customhouse("policy", "apply")[0] == 0
    assert house.call(AGENT_KEY).status_code == 200
    assert "HELLO" in house.call(writer, "desk_shout", text="hello").text
    assert REFUSED in house.call(AGENT_KEY, "desk_block", seconds=0).text  # never used, now gone

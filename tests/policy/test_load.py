"""From a folder to a policy in force: all of it, or nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gateway.domain.model import Verdict
from gateway.policy import files
from gateway.policy.files import PolicySource, bundle, unbundle
from gateway.policy.finding import Level, PolicyInvalid
from gateway.policy.load import compile, load
from gateway.policy.oracle import self_test
from gateway.policy.view import Ruling, View
from tests.policy.made import NOON_US, POLICIES, call_of

DEMO = [
    ("analyst-1", "analyst", "default"),
    ("report-bot", "analyst", "default"),
    ("dev-bot", "developer", "default"),
    ("ops-bot", "operator", "default"),
    ("ada", "approver", "default"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(POLICIES, tmp_path / "policies"))


def test_the_example_policy_loads_without_a_single_finding() -> None:
    loaded = load(POLICIES, DEMO)
    assert loaded.findings == ()
    assert len(loaded.cases) >= 25
    assert all(result.passed for result in loaded.cases)
    assert self_test(loaded.snapshot, loaded.source) >= 50


def test_every_rule_of_the_example_decides_or_is_overridden_in_some_case() -> None:
    loaded = load(POLICIES, DEMO)
    decided = {result.decision.rule for result in loaded.cases}
    never = [rule.text for rule in loaded.snapshot.rules if rule.index not in decided]
    assert len(never) <= len(loaded.snapshot.rules) // 2
    assert not [text for text in never if text.endswith("deny")]


def test_the_agents_of_the_example_get_the_rights_of_their_roles() -> None:
    policy = load(POLICIES, DEMO).snapshot
    allowed = {
        (who, name)
        for who in ("analyst-1", "report-bot", "dev-bot", "ops-bot")
        for name in ("tool/time/convert_time", "tool/git/git_commit", "tool/desk/slow_report")
        if policy.decide(call_of(who, name), NOON_US).verdict is Verdict.ALLOW
    }
    assert allowed == {
        ("analyst-1", "tool/time/convert_time"),
        ("analyst-1", "tool/desk/slow_report"),
        ("report-bot", "tool/time/convert_time"),
        ("report-bot", "tool/desk/slow_report"),
        ("dev-bot", "tool/time/convert_time"),
        ("dev-bot", "tool/git/git_commit"),
        ("ops-bot", "tool/time/convert_time"),
        ("ops-bot", "tool/desk/slow_report"),
    }


def test_a_policy_with_a_failing_case_is_not_loaded(folder: Path) -> None:
    rules = (
        (folder / "policy.csv")
        .read_text()
        .replace("call, destructive, deny", "list, destructive, deny")
    )
    (folder / "policy.csv").write_text(rules)
    with pytest.raises(PolicyInvalid, match="a destructive tool is denied although") as invalid:
        load(folder, DEMO)
    assert all(finding.level is Level.ERROR for finding in invalid.value.findings[:1])


def test_a_policy_with_an_error_is_not_loaded(folder: Path) -> None:
    with (folder / "tenants" / "acme.csv").open("a") as file:
        file.write("p, clerk, default, tool/*, call, -, allow\n")
    with pytest.raises(PolicyInvalid, match="speaks of tenant 'default'"):
        load(folder, DEMO)


def test_a_policy_that_casbin_would_decide_otherwise_is_not_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def deaf(view: View, act: str, name: str) -> Ruling:
        return honest(view, act, name)._replace(denies=())

    honest = View.rule_on
    kept = files.read(POLICIES).files
    # Its cases would notice as well, and first.
    bare = PolicySource({path: kept[path] for path in kept if not path.startswith("cases/")})
    monkeypatch.setattr(files, "read", lambda folder: bare)
    monkeypatch.setattr(View, "rule_on", deaf)
    with pytest.raises(PolicyInvalid, match="the compiled policy and Casbin disagree"):
        load(POLICIES, DEMO)


def test_a_policy_without_cases_loads_and_warns(folder: Path) -> None:
    shutil.rmtree(folder / "cases")
    assert "NO CASES" in load(folder, DEMO).findings[0].what


def test_another_model_is_not_loaded(folder: Path) -> None:
    (folder / "model.conf").write_text("[matchers]\nm = true\n")
    with pytest.raises(PolicyInvalid, match=r"model\.conf"):
        load(folder, DEMO)


def test_a_past_policy_decides_again_from_its_stored_bytes() -> None:
    loaded = load(POLICIES, DEMO)
    again = compile(*unbundle(bundle(loaded.source, DEMO)))
    assert again.version == loaded.snapshot.version
    for result in loaded.cases:
        decide = again.judge if result.case.is_role else again.decide
        assert decide(result.case.call, result.case.now_us) == result.decision


def test_a_changed_role_of_an_agent_is_another_version() -> None:
    assert load(POLICIES, DEMO).snapshot.version != load(POLICIES, DEMO[:3]).snapshot.version

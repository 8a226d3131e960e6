"""What the linter finds, where, and that nothing with an error is ever loaded."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.policy import lint
from gateway.policy.files import Binding, PolicySource
from gateway.policy.finding import Finding, Level, PolicyInvalid
from gateway.policy.load import compile
from tests.policy.made import MODEL, source_of

GOOD = "p, r, default, tool/s/*, call, -, allow\n"
HELD: list[Binding] = [("bot", "r", "default")]


def _errors(source: PolicySource, bindings: list[Binding] | None = None) -> list[Finding]:
    return [f for f in lint.check(source, bindings) if f.level is Level.ERROR]


def _warnings(source: PolicySource, bindings: list[Binding] | None = None) -> list[Finding]:
    return [f for f in lint.check(source, bindings) if f.level is Level.WARNING]


def test_a_sound_policy_has_no_findings() -> None:
    assert lint.check(source_of(GOOD), HELD) == []


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("p, r, default, tool/s/t, calls, -, allow", "unknown act 'calls'; did you mean 'call'?"),
        ("p, r, default, tool/s/t, call, -, alow", "'allow' or 'deny', not 'alow'"),
        ("p, r, default, tool/s/t, call, -, allow # why", "a comment needs its own line"),
        ("p, r, default, tool/s/t, call, nope, allow", "unknown condition 'nope'"),
        ("p, r, default, tool/s/t, call, , allow", "condition is empty"),
        ("p, r, default, tool/s/t, call, a+, allow", "condition is empty"),
        ("p, r, default, tool/s/t, call, a+a, allow", "each once"),
        ("p, r, default, tool/s/t, call, approval:boss, deny", "nobody can approve what is denied"),
        ("p, r, default, tool/s/t, call, approval:, allow", "the role is empty; write the role"),
        ("p, r, default, tool/s/t, call, approval:a b, allow", "holds a space"),
        ("p, r, default, tool/s/t, call, approval:*, allow", "'*' names no role"),
        ("p, r, default, tool/s/t, call, approval:system:x, allow", "belong to the gateway"),
        ("p, r, default, tool/s/t, call, approval:b+approval:b, allow", "each once"),
        ("p, r, default, model, call, -, allow", "begins with its kind and '/'"),
        ("p, r, default, tool/*/t, call, -, allow", "only be the last character"),
        ("p, r, default, tool/s/**, call, -, allow", "only be the last character"),
        ("p, r*, default, tool/s/t, call, -, allow", "stands alone as a subject"),
        ("p, r, d*, tool/s/t, call, -, allow", "stands alone as a tenant"),
        ("p, r, default, tool/s/t, c*, -, allow", "unknown act 'c*'"),
        ("p, , default, tool/s/t, call, -, allow", "the subject is empty"),
        ("p, r, , tool/s/t, call, -, allow", "the tenant is empty"),
        ("p, r, default, , call, -, allow", "the object is empty"),
        ("p, r, default, tool/s/t, , -, allow", "unknown act ''"),
        ("p, r, default, tool/s/t, call, -,", "not ''"),
        ("p, r, default, tool/s/t, call, allow", "expected 7 columns"),
        ("p, r, default, tool/s/a,b, call, -, allow", "expected 7 columns"),
        ("p, r, default, tools/s/t, call, -, allow", "did you mean 'tool'?"),
        ("p, r, default, tool, call, -, allow", "begins with its kind and '/'"),
        ("p, r, default, to*, call, -, allow", "begins with its kind and '/'"),
        ("p, r, default, resource/s/u[1], read, -, allow", "groups columns by brackets"),
        ("p, r, default, resource/s/u(1), read, -, allow", "groups columns by brackets"),
        ("p, r r, default, tool/s/t, call, -, allow", "holds a space"),
        ('p, "r", default, tool/s/t, call, -, allow', "holds a space, comma, bracket, quote"),
        ("p, r\u200b, default, tool/s/t, call, -, allow", "invisible character"),
        ("p, r, default, tool/s/t\u202e, call, -, allow", "invisible character"),
        ("p, r, default, tool/s/" + "t" * 600 + ", call, -, allow", "longer than 512"),
        ("p, system:discover, default, tool/s/t, call, -, allow", "belong to the gateway"),
        ("g, bot, system:discover, default", "belong to the gateway"),
        ("g, bot, r", "expected 4 columns"),
        ("g, bot, r, *", "would hold for nobody"),
        ("g, *, r, default", "would hold for nobody"),
        ("g, , r, default", "the member is empty"),
        ("q, a, b, c", "a line begins with 'p'"),
        ("p2, r, default, tool/s/t, call, -, allow", "a line begins with 'p'"),
        ("r, default", "a line begins with 'p'"),
        ("g, r, r, default", "in a circle: r -> r"),
        ("g, x, y, default\ng, y, x, default", "in a circle"),
    ],
)
def test_a_line_that_can_be_misread_is_an_error_at_its_place(line: str, says: str) -> None:
    found = _errors(source_of(GOOD + line))
    assert says in found[0].what
    assert (found[0].file, found[0].line >= 2) == ("policy.csv", True)
    assert found[0].why
    assert found[0].fix
    with pytest.raises(PolicyInvalid):
        compile(source_of(GOOD + line), ())


@pytest.mark.parametrize("text", ["", "# nothing\n\n", "g, bot, r, default\n"])
def test_an_empty_policy_is_never_loaded(text: str) -> None:
    assert any("no rules" in finding.what for finding in _errors(source_of(text)))
    with pytest.raises(PolicyInvalid, match="no rules"):
        compile(source_of(text), HELD)


def test_text_that_is_not_utf8_is_an_error() -> None:
    source = PolicySource({"model.conf": MODEL, "policy.csv": GOOD.encode() + b"\xff"})
    assert "not UTF-8" in _errors(source)[0].what


def test_a_byte_order_mark_is_an_error_and_not_a_lost_first_line() -> None:
    what = [finding.what for finding in _errors(source_of("\ufeff" + GOOD))]
    assert any("a line begins with 'p'" in text for text in what)


def test_lines_that_end_as_on_windows_are_read_alike() -> None:
    assert lint.check(source_of(GOOD.replace("\n", "\r\n")), HELD) == []


@pytest.mark.parametrize(
    ("links", "wrong"), [(9, False), (10, True)], ids=["nine links", "ten links"]
)
def test_a_role_chain_that_casbin_would_cut_off_is_an_error(links: int, wrong: bool) -> None:
    chain = "".join(f"g, n{i}, n{i + 1}, default\n" for i in range(links))
    rules = f"p, n{links}, default, tool/s/t, call, -, allow\n{chain}"
    assert any("more than 9 links" in f.what for f in _errors(source_of(rules))) is wrong


def test_the_links_of_a_circle_are_named_and_not_their_neighbours() -> None:
    links = "g, bot, a, default\ng, a, b, default\ng, b, a, default\ng, b, c, default\n"
    found = _errors(source_of(GOOD + links))
    assert [("a -> b -> a" in f.what or "b -> a -> b" in f.what) for f in found] == [True]


def test_links_of_different_tenants_make_no_circle() -> None:
    links = "g, a, b, t1\ng, b, a, t2\n"
    assert not _errors(source_of(GOOD + links))


@pytest.mark.parametrize(
    "line",
    [
        "p, r, default, tool/s/t, call, -, allow",
        "p, r, *, tool/s/t, call, -, deny",
        "g, bot, r, default",
    ],
)
def test_a_tenants_file_speaks_of_its_own_tenant_only(line: str) -> None:
    found = _errors(source_of(GOOD, tenants__acme_csv=line))
    assert [(f.file, f.line) for f in found] == [("tenants/acme.csv", 1)]
    assert "may hold rules and roles of 'acme' only" in found[0].why


def test_a_tenants_file_of_its_own_tenant_is_fine() -> None:
    assert not _errors(source_of(GOOD, tenants__acme_csv="p, r, acme, tool/s/t, call, -, allow"))


def test_a_file_named_after_no_tenant_is_an_error() -> None:
    source = source_of(GOOD)
    source = replace(source, files={**source.files, "tenants/*.csv": b""})
    assert "not named after a tenant" in _errors(source)[0].what


def test_a_misspelt_condition_is_suggested() -> None:
    conditions = '[small_refund]\ntenants = ["default"]'
    line = "p, r, default, tool/s/t, call, smal_refund, allow"
    assert "'small_refund'" in _errors(source_of(GOOD + line, conditions))[0].fix


def test_a_broken_condition_is_an_error() -> None:
    conditions = '[c]\narguments = [{ at = "/a", matches = "(a+)+$" }]'
    line = "p, r, default, tool/s/t, call, c, allow"
    assert "unknown operator 'matches'" in _errors(source_of(GOOD + line, conditions))[0].what


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda text: text.replace("p.dom == r.dom || ", ""), "`m` in [matchers]"),
        (lambda text: text.replace("&& !some", "|| !some"), "`e` in [policy_effect]"),
        (lambda text: text.replace("g = _, _, _", "g = _, _"), "`g` in [role_definition]"),
        (lambda text: text + "\n[extra]\nx = 1", "`x` in [extra]"),
        (lambda text: text + "\nm2 = true", "`m2` in [matchers]"),
        (lambda text: text + '\nm = p.sub == "*"', "each key once"),
        (lambda text: text.replace("[role_definition]", "[roles]"), "`g` in [roles]"),
        (lambda text: text.replace("r = sub", "r = sub \\\n"), "expected `key = value`"),
        (lambda text: "", "lacks"),
        (lambda text: text.replace("m = (", "m = # ("), "`m` in [matchers]"),
    ],
    ids=[
        "any tenant",
        "allow or no deny",
        "roles without tenants",
        "another section",
        "another matcher",
        "the matcher twice",
        "a section renamed",
        "a line continued",
        "empty",
        "the matcher commented out",
    ],
)
def test_another_casbin_model_is_refused(spoil: object, says: str) -> None:
    assert callable(spoil)
    source = source_of(GOOD)
    files = {**source.files, "model.conf": spoil(MODEL.decode()).encode()}
    assert any(says in finding.what for finding in _errors(PolicySource(files)))


def test_a_model_that_differs_in_spaces_and_comments_is_the_same() -> None:
    text = "; mine\n" + MODEL.decode().replace(" && ", "  &&  ").replace("r = ", "r=")
    source = source_of(GOOD)
    assert not _errors(PolicySource({**source.files, "model.conf": text.encode()}))


def test_a_folder_without_model_or_rules_is_refused() -> None:
    what = [f"{f.file} {f.what}" for f in _errors(PolicySource({}))]
    assert "model.conf is missing" in what
    assert "policy.csv is missing" in what


@pytest.mark.parametrize(
    ("binding", "says"),
    [
        (("r", "x", "default"), "has the name of a role"),
        (("bot one", "r", "default"), "holds a space"),
        (("*", "r", "default"), "'*' in the role"),
        (("bot", "*", "default"), "'*' in the role"),
        (("bot", "r", "*"), "'*' in the role"),
        (("system:discover", "r", "default"), "name of the gateway's own"),
    ],
)
def test_a_name_from_the_configuration_that_means_more_is_refused(
    binding: Binding, says: str
) -> None:
    found = _errors(source_of(GOOD), [*HELD, binding])
    assert says in found[0].what


def test_an_agent_may_have_the_name_of_another_tenants_role() -> None:
    assert not _errors(source_of(GOOD), [*HELD, ("r", "x", "acme")])


@pytest.mark.parametrize(
    ("rules", "conditions", "says", "fix"),
    [
        (GOOD + GOOD, "", "repeats the rule of policy.csv:1", "remove one"),
        (GOOD + GOOD.replace("allow", "deny"), "", "contradicts the rule", "remove one"),
        (GOOD, '[c]\ntenants = ["x"]', "no rule uses 'c'", "use it or remove it"),
        (GOOD + "p, r, default, resource/s/*, call, -, allow", "", "nothing is ever done", "read"),
        (GOOD + "p, *, *, tool/s/t, call, -, allow", "", "every agent of every tenant", "name"),
        (GOOD + "p, rr, default, tool/t/t, call, -, deny", "", "'rr' is neither", "grant it"),
        (GOOD + "g, bot, analist, default", "", "has no rules", "write rules"),
    ],
)
def test_what_is_doubtful_is_a_warning(rules: str, conditions: str, says: str, fix: str) -> None:
    found = _warnings(source_of(rules, conditions), HELD)
    assert [(says in f.what, fix in f.fix) for f in found] == [(True, True)]
    assert compile(source_of(rules, conditions), HELD).rules


def test_a_misspelt_role_is_suggested() -> None:
    rules = "p, anlyst, default, tool/s/t, call, -, allow\np, analyst, default, tool/s/u, call, -, allow"
    found = _warnings(source_of(rules), [("bot", "analyst", "default")])
    assert [(f.line, f.fix) for f in found] == [(1, "did you mean 'analyst'?")]


def test_who_holds_a_role_is_not_judged_without_the_configuration() -> None:
    assert _warnings(source_of(GOOD), None) == []
    assert "'r' is neither" in _warnings(source_of(GOOD), [])[0].what


def test_a_policy_without_cases_is_warned_about_loudly() -> None:
    source = source_of(GOOD)
    bare = {path: raw for path, raw in source.files.items() if not path.startswith("cases/")}
    assert "THE POLICY HAS NO CASES" in _warnings(PolicySource(bare), HELD)[0].what


def test_a_file_that_is_not_read_is_warned_about() -> None:
    source = replace(source_of(GOOD), ignored=("policy.cvs",))
    assert _warnings(source, HELD)[0].file == "policy.cvs"


def test_a_thousand_faults_are_told_in_bounds() -> None:
    source = source_of("p, r\n" * 1_000)
    assert len(lint.check(source)) == lint.MAX_FINDINGS
    with pytest.raises(PolicyInvalid, match="and 480 more errors"):
        compile(source, ())


def test_too_many_rules_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.policy.rules.MAX_RULES", 1)
    assert any("at most 1 are loaded" in f.what for f in _errors(source_of(GOOD + GOOD)))


def test_a_finding_says_what_why_and_how_to_mend_it() -> None:
    said = _errors(source_of(GOOD + "p, r"))[0].say()
    assert said.startswith("error: policy.csv:2: expected 7 columns")
    assert "\n  why: " in said
    assert "\n  fix: " in said

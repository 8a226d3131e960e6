"""Two runs of the official suite are compared check by check."""

from collections import Counter
from pathlib import Path

import pytest

from tests.conformance import compare
from tests.conformance.compare import Agreed, BadDifferences, Spot
from tests.conformance.suite import Checks

PASSED, FAILED = Counter(SUCCESS=1), Counter(FAILURE=1)
SPOT = Spot("2026-07-28", "tools-list", "tools-list")

ENTRY = """
[[{section}]]
revision = "2026-07-28"
scenario = "tools-list"
checks = ["{check}"]
reason = "{reason}"
"""


def entry(section: str = "difference", check: str = "tools-list", reason: str = "so") -> str:
    return ENTRY.format(section=section, check=check, reason=reason)


def written(folder: Path, *entries: str) -> Path:
    path = folder / "differences.toml"
    path.write_text("".join(entries))
    return path


@pytest.mark.parametrize(
    "governed",
    [
        pytest.param({"tools-list": {"tools-list": FAILED}}, id="another status"),
        pytest.param({"tools-list": {"tools-list": PASSED + PASSED}}, id="one check more"),
        pytest.param({"tools-list": {}}, id="the check was skipped silently"),
        pytest.param({}, id="the scenario is missing"),
    ],
)
def test_a_run_that_is_not_the_same_differs(governed: Checks) -> None:
    direct = {"tools-list": {"tools-list": PASSED}}
    (found,) = compare.compare("2026-07-28", direct, governed)
    assert found.spot == SPOT
    assert "tools-list" in found.say()


def test_equal_runs_do_not_differ_even_where_both_fail() -> None:
    run = {"tools-list": {"tools-list": PASSED}, "tasks-lifecycle": {"create": FAILED}}
    assert compare.compare("2026-07-28", run, dict(run)) == ()


def test_a_difference_nobody_agreed_to_is_a_complaint() -> None:
    found = compare.compare("2026-07-28", {"tools-list": {"tools-list": PASSED}}, {})
    (complaint,) = compare.judge(found, Agreed({}, {}))
    assert complaint.startswith("not agreed: 2026-07-28 tools-list")


@pytest.mark.parametrize("section", ["difference", "later"])
def test_an_agreed_difference_is_none_and_a_healed_one_is(tmp_path: Path, section: str) -> None:
    agreed = compare.read(written(tmp_path, entry(section)))
    found = compare.compare("2026-07-28", {"tools-list": {"tools-list": PASSED}}, {})
    assert compare.judge(found, agreed) == ()
    (complaint,) = compare.judge((), agreed)
    assert "no longer differs" in complaint


@pytest.mark.parametrize(
    "entries",
    [
        pytest.param([entry(reason="")], id="no reason"),
        pytest.param([entry(), entry()], id="listed twice"),
        pytest.param([entry(), entry("later")], id="in both sections"),
        pytest.param([entry("perhaps")], id="a section of another name"),
        pytest.param([entry(check=f"check-{n}") for n in range(6)], id="six that stay"),
    ],
)
def test_a_list_that_hides_more_than_agreed_is_refused(tmp_path: Path, entries: list[str]) -> None:
    with pytest.raises(BadDifferences):
        compare.read(written(tmp_path, *entries))


def test_the_list_of_the_project_is_in_order() -> None:
    agreed = compare.read(Path(compare.__file__).with_name("differences.toml"))
    assert agreed.stay
    assert not agreed.wait

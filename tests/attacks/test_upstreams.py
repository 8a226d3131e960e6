"""Servers that hang, die, flood, lie or explode: the call ends, the gateway does not."""

import resource
from pathlib import Path

import pytest

from tests.attacks.conftest import Border

pytestmark = pytest.mark.slow

MEBIBYTE = 1_048_576


def refusal(answer: dict[str, object]) -> str:
    result = answer["result"]
    assert isinstance(result, dict)
    assert result["isError"] is True
    code = result["_meta"]["io.customhouse/refusal"]["code"]
    assert isinstance(code, str)
    return code


@pytest.mark.parametrize(
    ("tool", "code"),
    [
        ("hang", "upstream_timeout"),
        ("die", "upstream_died"),
        ("silent_close", "upstream_died"),
        ("garble", "upstream_broken"),
        ("other_id", "upstream_broken"),
        ("bomb", "upstream_broken"),
        ("flood", "result_too_large"),
        ("long", "result_too_large"),
    ],
)
def test_a_server_that_misbehaves_gives_a_clear_answer(
    border: Border, tool: str, code: str
) -> None:
    answer = border.call(f"rogue_{tool}", {"mark": f"mischief-{tool}"})
    assert refusal(answer) == code
    # The breaker counts failures in a row: a good call in between keeps this table honest.
    assert "content" in border.call("rogue_act", {"mark": f"after-{tool}"})["result"]


def test_a_flood_does_not_fill_the_memory(border: Border) -> None:
    border.call("rogue_flood", {"mark": "flood-memory"})
    peak = Path(f"/proc/{border.process.process.pid}/status").read_text()
    [line] = [line for line in peak.split("\n") if line.startswith("VmHWM")]
    assert int(line.split()[1]) * 1024 < 400 * MEBIBYTE
    border.call("rogue_act", {"mark": "after-flood-memory"})


def test_after_failures_in_a_row_the_server_is_left_alone(border: Border) -> None:
    codes = {refusal(border.call("rogue_garble", {"mark": "breaker"})) for _ in range(6)}
    assert codes == {"upstream_broken", "breaker_open"}


def test_the_gateway_keeps_few_files_open(border: Border) -> None:
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Its list of files is closed to its own user; how many it has room for is not.
    status = Path(f"/proc/{border.process.process.pid}/status").read_text()
    [room] = [line for line in status.split("\n") if line.startswith("FDSize")]
    assert int(room.split()[1]) <= min(soft, 256)

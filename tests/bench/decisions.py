"""What one decision costs under 100,000 rules, in a process of its own.

python -m tests.bench.decisions
{"rules": 100000, "warm_us": 2.3, "cold_us": 160.0, "compile_s": 2.2}
"""

import gc
import random
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from gateway.domain.model import (
    Act,
    Approval,
    Call,
    CallClass,
    Definition,
    Kind,
    Principal,
    Verdict,
)
from gateway.policy.files import PolicySource
from gateway.policy.load import compile
from gateway.policy.snapshot import Snapshot
from tests.bench.measure import Decided

ROLES, RULES_EACH = 1_000, 100  # 100,000 rules
AGENTS, ROLES_OF_EACH = 1_000, 3
PAIRS = 4_000  # of a caller and a tool, each asked in every pass
PASSES = 9

_MODEL = Path(__file__).parents[2] / "policies" / "model.conf"
_NOW_US = 1_795_392_000_000_000


def source(chance: random.Random) -> PolicySource:
    """A house with many roles: each may call its own tools but one, and nobody what is closed."""
    lines = [
        f"p, role_{role}, default, {name}, call, -, {effect}" for role, name, effect in _rules()
    ]
    for agent in range(AGENTS):
        roles = chance.sample(range(ROLES), ROLES_OF_EACH)
        lines += [f"g, agent_{agent}, role_{role}, default" for role in roles]
    policy = "\n".join(lines).encode() + b"\n"
    return PolicySource({"model.conf": _MODEL.read_bytes(), "policy.csv": policy})


def _rules() -> Sequence[tuple[int, str, Verdict]]:
    found: list[tuple[int, str, Verdict]] = []
    for role in range(ROLES):
        server = f"server_{role % 50}"
        found.append((role, f"tool/{server}/closed_{role}_*", Verdict.DENY))
        own = (f"tool/{server}/t_{role}_{tool}" for tool in range(RULES_EACH - 1))
        found += [(role, name, Verdict.ALLOW) for name in own]
    return found


def calls(snapshot: Snapshot, chance: random.Random) -> list[Call]:
    """Calls of agents on tools: of their own roles, and of others'."""
    principals = [Principal("default", f"agent_{agent}") for agent in range(AGENTS)]
    rules = [rule for rule in snapshot.rules if rule.effect is Verdict.ALLOW]
    of_role: dict[str, list[str]] = {}
    for rule in rules:
        of_role.setdefault(rule.subject, []).append(rule.object)
    roles_of: dict[str, list[str]] = {}
    for link in snapshot.links:
        roles_of.setdefault(link.member, []).append(link.role)
    made = []
    for number in range(PAIRS):
        principal = chance.choice(principals)
        own = chance.choice(of_role[chance.choice(roles_of[principal.subject])])
        made.append(_call(principal, own if number % 4 else chance.choice(rules).object))
    return made


def _call(principal: Principal, name: str) -> Call:
    _, server, tool = name.split("/")
    definition = Definition(server, Kind.TOOL, tool, tool, b"", "", Approval.APPROVED)
    return Call(
        id="",
        principal=principal,
        method="tools/call",
        kind=Kind.TOOL,
        server=server,
        name=tool,
        act=Act.CALL,
        weight=CallClass.FULL,
        definition=definition,
    )


def _pass_us(snapshot: Snapshot, asked: Sequence[Call]) -> float:
    decide = snapshot.decide
    began = time.process_time()
    for call in asked:
        decide(call, _NOW_US)
    return (time.process_time() - began) * 1e6 / len(asked)


def measure() -> Decided:
    """Compile, then ask every pair once, and again several times."""
    chance = random.Random(1)
    began = time.process_time()
    snapshot = compile(source(chance), ())
    compile_s = time.process_time() - began
    asked = calls(snapshot, chance)
    gc.collect()
    gc.freeze()  # as the gateway does before it serves
    cold_us = _pass_us(snapshot, asked)
    verdicts = {snapshot.decide(call, _NOW_US).verdict for call in asked}
    if verdicts != {Verdict.ALLOW, Verdict.DENY}:
        raise AssertionError(f"expected calls of either verdict, got {verdicts}")
    warm_us = statistics.median(_pass_us(snapshot, asked) for _ in range(PASSES))
    return Decided(len(snapshot.rules), warm_us, cold_us, compile_s)


if __name__ == "__main__":
    sys.stdout.write(msgspec.json.encode(measure()).decode() + "\n")

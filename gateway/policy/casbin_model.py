"""The one Casbin model this gateway implements; a folder with another one is refused.

Roles within tenants, default deny, deny overrides. `*` as a tenant is a platform-wide guard rail,
and named conditions are asked last. They are told the effect of their rule: what cannot be
evaluated must count against the caller either way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.policy.files import MODEL, PolicySource
from gateway.policy.finding import Finding, error

EXPECTED: Final[Mapping[str, Mapping[str, str]]] = {
    "request_definition": {"r": "sub, dom, obj, act, ctx"},
    "policy_definition": {"p": "sub, dom, obj, act, cond, eft"},
    "role_definition": {"g": "_, _, _"},
    "policy_effect": {"e": "some(where (p.eft == allow)) && !some(where (p.eft == deny))"},
    "matchers": {
        "m": '(p.dom == r.dom || p.dom == "*") && (p.act == r.act || p.act == "*")'
        ' && keyMatch(r.obj, p.obj) && (p.sub == "*" || g(r.sub, p.sub, r.dom))'
        ' && (p.cond == "-" || cond(p.cond, p.eft, r.ctx))'
    },
}


def check(source: PolicySource) -> list[Finding]:
    """Errors where model.conf says anything else than EXPECTED, spaces and comments aside."""
    if MODEL not in source.files:
        return [_fault(0, "is missing")]
    try:
        lines = source.files[MODEL].decode("utf-8").split("\n")
    except UnicodeDecodeError as err:
        return [_fault(0, f"is not UTF-8 text: {err.reason}")]
    section, found = "", dict[tuple[str, str], tuple[int, str]]()
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text[0] in "#;":
            continue
        if text.startswith("[") and text.endswith("]"):
            section = text[1:-1]
            continue
        key, equals, value = text.partition("=")
        place = (section, key.strip())
        if not equals or place in found or not text.isprintable():
            return [_fault(number, "expected `key = value`, each key once")]
        found[place] = (number, value)
    return _differences(found)


def _differences(found: Mapping[tuple[str, str], tuple[int, str]]) -> list[Finding]:
    wanted = {(section, key): v for section, keys in EXPECTED.items() for key, v in keys.items()}
    findings = [
        _fault(number, f"`{key}` in [{section}] is not the expected one")
        for (section, key), (number, value) in found.items()
        if _bare(value) != _bare(wanted.get((section, key), ""))
    ]
    missing = [f"[{section}] {key}" for section, key in wanted if (section, key) not in found]
    if missing:
        findings.append(_fault(0, f"lacks {', '.join(missing)}"))
    return findings


def _bare(text: str) -> str:
    return "".join(text.split())


def _fault(line: int, what: str) -> Finding:
    return error(
        MODEL,
        line,
        what,
        "decisions are compiled for one model; under another, rules would mean something else",
        "take model.conf from the project's policies/ folder, unchanged",
    )

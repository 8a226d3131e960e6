"""The pages of an approval, as HTML that needs no script: everything that others wrote is escaped.

What a reader would not see, or what would turn letters around, is written out: U+202E.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from html import escape
from typing import Any

from gateway.domain.unseen import is_unseen
from gateway.edge.line import Headers

HTML_TYPE = b"text/html; charset=utf-8"
MAX_REASON_CHARS = 300
STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:2rem auto;padding:0 1rem;
color:#1b1b1b;background:#fff}
h1{font-size:1.3rem}dt{font-weight:600;margin-top:.6rem}dd{margin:0}
code,pre,dd{direction:ltr;unicode-bidi:bidi-override;overflow-wrap:anywhere}
pre{background:#f3f3f3;border:1px solid #ccc;padding:.8rem;white-space:pre-wrap}
.unseen{background:#b00020;color:#fff;padding:0 .2em;font:.8em monospace}
label{display:block;margin-top:.8rem;font-weight:600}
input,textarea{font:inherit;width:100%;box-sizing:border-box;padding:.4rem}
button{font:inherit;padding:.5rem 1.2rem;margin:1rem .8rem 0 0}
.no{border-left:4px solid #b00020;padding-left:.8rem}
"""
_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_HASH}'; form-action 'self';"
    " frame-ancestors 'none'; base-uri 'none'"
)
HEADERS: Headers = [
    (b"content-security-policy", _POLICY.encode()),
    # Not `no-referrer`: a browser would then say "Origin: null" with the form, which is refused.
    (b"referrer-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
_CREDENTIAL = (
    '<label for="credential">Your own API key or token</label>'
    '<input id="credential" name="credential" type="password" required autocomplete="off"'
    ' maxlength="8192">'
)


def notice_page(row: Mapping[str, Any], now: str, problem: str = "") -> bytes:
    """Who asks for what: for whoever has the link."""
    return _page(
        f"{_heading(row)}{_no(problem)}{_facts(row, now)}"
        "<p>To see its arguments, and to decide, say who you are. Nothing of it is kept here.</p>"
        f'<form method="post">{_CREDENTIAL}'
        '<button name="action" value="show">Show the arguments</button></form>'
    )


def decision_page(row: Mapping[str, Any], now: str) -> bytes:
    """The same with arguments, for somebody who could decide."""
    conditions = "".join(
        f"<dt>Condition {shown(name)}</dt><dd>{'holds' if value else 'does not hold'}</dd>"
        for name, value in row["conditions"].items()
    )
    rule = f"{row['rule_place']}: {row['rule_text']}" if row["rule_text"] else "a rule"
    return _page(
        f"{_heading(row)}{_facts(row, now)}<dl><dt>Because of</dt><dd>{shown(rule)}</dd>"
        f"{conditions}</dl><h2>Arguments, as they will be sent</h2>"
        f"<pre>{shown(row['arguments'])}</pre>"
        f'<form method="post">{_CREDENTIAL}{_for_run(row)}'
        f'<label for="reason">Reason (the caller is told why you deny)</label>'
        f'<input id="reason" name="reason" maxlength="{MAX_REASON_CHARS}" autocomplete="off">'
        '<button name="action" value="approve">Approve</button>'
        '<button name="action" value="deny">Deny</button></form>'
    )


def decided_page(row: Mapping[str, Any], now: str) -> bytes:
    said = {
        "waiting": "Your yes is entered. It takes another person, too.",
        "granted": "Approved. The call passes when its caller repeats it.",
        "denied": "Denied. The caller is told.",
    }.get(str(row["state"]), "It is decided.")
    return _page(f"{_heading(row)}<p>{said}</p>{_facts(row, now)}")


def plain_page(title: str, text: str) -> bytes:
    return _page(f"<h1>{shown(title)}</h1><p>{shown(text)}</p>")


def shown(text: str) -> str:
    """*text* for HTML, with each character that is not seen written out."""
    if text.isascii() and text.isprintable():
        return escape(text)
    return "".join(_character(c) for c in text)


def _character(c: str) -> str:
    if c == "\n" or not is_unseen(c):
        return escape(c)
    return f'<span class="unseen">U+{ord(c):04X}</span>'


def _heading(row: Mapping[str, Any]) -> str:
    return f"<h1>Approval {shown(row['approval'])}</h1>"


def _no(problem: str) -> str:
    return f'<p class="no" role="alert">{shown(problem)}</p>' if problem else ""


def _facts(row: Mapping[str, Any], now: str) -> str:
    facts = {
        "Who asks": " for ".join([*row["actors"], row["agent"]]),
        "Tenant": row["tenant"],
        "What": row["object"],
        "In run": row["run"],
        "It takes": row["roles"],
        "Approved by": ", ".join(row["approved_by"]),
        "Denied by": row["denied_by"],
        "State": f"{row['state']} until {row['until']} (now {now})",
    }
    pairs = (f"<dt>{name}</dt><dd>{shown(str(fact))}</dd>" for name, fact in facts.items() if fact)
    return f"<dl>{''.join(pairs)}</dl>"


def _for_run(row: Mapping[str, Any]) -> str:
    if not row["run"]:
        return ""
    return (
        '<label for="calls">For so many calls of this run, with any arguments'
        ' (empty: just this one)</label><input id="calls" name="calls" inputmode="numeric">'
    )


def _page(body: str) -> bytes:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Approval</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head><body><main>{body}</main></body></html>"
    ).encode("utf-8", "backslashreplace")

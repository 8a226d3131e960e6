"""The page where a call is approved: what it shows to whom, and who decides there."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from gateway.audit import entry as entries
from tests.app.administered import KEYS
from tests.app.counsel import (
    SECRET,
    Counsel,
    anyio_backend,
    counsel,
    once,
    own,
    passed,
    refusal_of,
)
from tests.edge.fakes import Knocker, Response

__all__ = ["anyio_backend", "counsel", "once", "own"]
pytestmark = pytest.mark.anyio
FORM = "application/x-www-form-urlencoded"


async def linked(counsel: Counsel, **arguments: Any) -> str:
    """The link to the page of a call that waits."""
    return str(refusal_of(await counsel.call(**arguments))["url"])


async def visit(counsel: Counsel, url: str, form: Any = None, **headers: str | None) -> Response:
    parts = urlsplit(url)
    knocker = Knocker(counsel.app, path=parts.path)
    raw = b"" if form is None else form if isinstance(form, bytes) else urlencode(form).encode()
    said = {"authorization": None, "content_type": None, **headers}
    if form is not None:
        said |= {"content_type": FORM, "content_length": str(len(raw))} | headers
    verb = "GET" if form is None else "POST"
    query = parts.query.encode()
    return await knocker.raw(raw, knocker.headers(**said), method=verb, query_string=query)


def form(who: str, action: str = "show", **more: str) -> dict[str, str]:
    return {"credential": KEYS.get(who, who), "action": action, **more}


def text_of(answer: Response) -> str:
    return answer.body.decode()


class Tags(HTMLParser):
    """Every tag of a page, with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


async def test_the_link_alone_shows_who_asks_for_what_and_no_arguments(counsel: Counsel) -> None:
    link = await linked(counsel, note=SECRET)
    answer = await visit(counsel, link)
    page = text_of(answer)
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "bot" in page
    assert "tool/shelf/pay" in page
    assert "of-the-island" not in page
    assert ("input", "password") in [(tag, said.get("type")) for tag, said in Tags(page).found]


async def test_somebody_with_the_role_sees_the_arguments_and_approves(counsel: Counsel) -> None:
    link = await linked(counsel, note=SECRET)
    shown = await visit(counsel, link, form("ann"))
    assert "of-the-island &lt;b&gt;pounds&lt;/b&gt;" in text_of(shown)
    assert "approval:boss" in text_of(shown)
    done = await visit(counsel, link, form("ann", "approve", reason="it is due"))
    assert (done.status, "Approved." in text_of(done)) == (200, True)
    assert KEYS["ann"] not in text_of(shown) + text_of(done)
    assert passed(await counsel.call(note=SECRET))
    assert (await visit(counsel, link)).status == 410
    about = [c for c in counsel.changes() if c[2].startswith("approval/")]
    assert [(what, by) for what, by, _ in about] == [
        ("approval.ask", "agent:bot"),
        ("audit.payload_read", "agent:ann"),
        ("approval.give", "agent:ann"),
        ("approval.use", "agent:bot"),
    ]


async def test_who_denies_there_tells_the_caller_why(counsel: Counsel) -> None:
    link = await linked(counsel, amount=1)
    await visit(counsel, link, form("ann", "deny", reason="<i>never</i>"))
    answer = await counsel.call(amount=1)
    assert "<i>never</i>" in answer.result["content"][0]["text"]


async def test_the_page_runs_no_script_and_loads_nothing(counsel: Counsel) -> None:
    link = await linked(counsel, note="x")
    for answer in (await visit(counsel, link), await visit(counsel, link, form("ann"))):
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'sha256-")
        assert "form-action 'self'; frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert "set-cookie" not in answer.headers
        tags = Tags(text_of(answer)).found
        assert not {"script", "img", "link", "iframe", "a"} & {tag for tag, _ in tags}
        assert not [said for _, said in tags for name in said if name.startswith("on")]
        [sent] = [said for tag, said in tags if tag == "form"]
        assert sent == {"method": "post"}
        [key] = [said for tag, said in tags if said.get("name") == "credential"]
        assert (key["type"], key["autocomplete"]) == ("password", "off")


async def test_what_a_reader_would_not_see_is_written_out(counsel: Counsel) -> None:
    link = await linked(counsel, note="pay\u202egnihton\u200b<script>alert(1)</script>")
    page = text_of(await visit(counsel, link, form("ann")))
    assert "\u202e" not in page
    assert '<span class="unseen">U+202E</span>gnihton<span class="unseen">U+200B</span>' in page
    assert "script" not in {tag for tag, _ in Tags(page).found}


def another(found: re.Match[str]) -> str:
    return "A-1" if found[0] == "A-0" else "A-0"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda link: link[:-1] + ("A" if link[-1] != "A" else "B"), id="signature"),
        pytest.param(lambda link: re.sub(r"exp=\d", "exp=9", link), id="time"),
        pytest.param(lambda link: re.sub(r"A-.", another, link), id="id"),
        pytest.param(lambda link: link.partition("?")[0], id="nothing"),
        pytest.param(lambda link: link + "&more=1", id="more"),
        pytest.param(lambda link: link.replace("/approvals/", "/approvals//"), id="path"),
    ],
)
async def test_a_link_that_was_changed_shows_nothing(counsel: Counsel, change: Any) -> None:
    link = await linked(counsel, amount=1)
    answer = await visit(counsel, change(link))
    assert answer.status == 404
    assert "bot" not in text_of(answer)


async def test_a_wrong_credential_is_told_counted_and_bounded(counsel: Counsel) -> None:
    link = await linked(counsel, amount=1)
    for n in range(10):
        answer = await visit(counsel, link, form(f"chk_{n}_guessed"))
        assert answer.status == 401
        assert "of-the-island" not in text_of(answer)
    late = await visit(counsel, link, form("ann"))
    assert late.status == 429
    assert 0 < int(late.headers["retry-after"]) <= 60
    # At another page nobody has guessed.
    assert (await visit(counsel, await linked(counsel, amount=2), form("ann"))).status == 200


@pytest.mark.parametrize("action", ["show", "approve", "deny"])
@pytest.mark.parametrize("who", ["rita", "second", "hidden"])
async def test_without_the_role_nobody_sees_or_decides(
    counsel: Counsel, who: str, action: str
) -> None:
    link = await linked(counsel, note=SECRET)
    answer = await visit(counsel, link, form(who, action))
    assert answer.status == 403
    assert "of-the-island" not in text_of(answer)
    refused = [e for e in counsel.entries() if isinstance(e, entries.Refused)][-1]
    assert refused.method.startswith("page/approval.")
    assert refusal_of(await counsel.call(note=SECRET))["code"] == "approval_needed"


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        pytest.param(b"action=approve", {}, id="no credential"),
        pytest.param(b"credential=x&credential=y&action=show", {}, id="a field twice"),
        pytest.param(b"credential=x&action=delete", {}, id="no such action"),
        pytest.param(b"credential=x&action=show&admin=1", {}, id="a field of no form"),
        pytest.param(b"credential=x&action=approve&calls=-1", {}, id="a number that is none"),
        pytest.param(b'{"credential":"x"}', {"content_type": "application/json"}, id="no form"),
        pytest.param(b"credential=%ff&action=show", {}, id="no text"),
    ],
)
async def test_what_is_no_form_of_ours_is_refused(
    counsel: Counsel, body: bytes, headers: dict[str, str]
) -> None:
    link = await linked(counsel, amount=1)
    assert (await visit(counsel, link, body, **headers)).status == 400


async def test_another_origin_cannot_send_the_form(counsel: Counsel) -> None:
    link = await linked(counsel, amount=1)
    for origin in ("https://evil.example", "null"):
        answer = await visit(counsel, link, form("ann", "approve"), origin=origin)
        assert answer.status == 403
    assert refusal_of(await counsel.call(amount=1))["code"] == "approval_needed"

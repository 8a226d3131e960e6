"""The page of an approval in a real browser, without scripts. Runs where playwright and chromium are."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.journey.test_approvals import BOSS_KEY, Place, place, repeated

__all__ = ["place"]  # a fixture
playwright = pytest.importorskip("playwright.async_api")
CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here"),
]


@asynccontextmanager
async def browser(*, scripts: bool) -> AsyncIterator[Any]:
    """A page; `complaints` are what the browser says of it, `asked` all that it fetches."""
    async with playwright.async_playwright() as drivers:
        running = await drivers.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        page = await (await running.new_context(java_script_enabled=scripts)).new_page()
        page.complaints, page.asked = [], []
        page.on("console", lambda said: page.complaints.append(said.text))
        page.on("request", lambda request: page.asked.append(request.url))
        page.set_default_timeout(10_000)
        try:
            yield page
        finally:
            await running.close()


async def test_a_person_approves_without_any_script(place: Place) -> None:
    mark = "by-browser-\u202e<b>bold</b>"
    refusal = (await repeated(place, mark))["_meta"]["io.customhouse/refusal"]
    async with browser(scripts=False) as page:
        await page.goto(refusal["url"])
        assert "tool/pipe/act" in await page.inner_text("main")
        assert "by-browser" not in await page.inner_text("main")
        await page.fill("#credential", BOSS_KEY)
        await page.click("button[value=show]")
        shown = await page.inner_text("pre")
        assert '"mark": "by-browser-U+202E<b>bold</b>"' in shown
        await page.fill("#credential", BOSS_KEY)
        await page.fill("#reason", "it is due")
        await page.click("button[value=approve]")
        assert "Approved." in await page.inner_text("main")
        assert page.complaints == []
        assert {url.partition("?")[0] for url in page.asked} == {refusal["url"].partition("?")[0]}
    assert not (await repeated(place, mark)).get("isError")


async def test_the_style_is_the_one_that_the_policy_allows(place: Place) -> None:
    refusal = (await repeated(place, "styled"))["_meta"]["io.customhouse/refusal"]
    async with browser(scripts=True) as page:
        await page.goto(refusal["url"])
        width = await page.evaluate("getComputedStyle(document.body).maxWidth")
        turned = await page.evaluate("getComputedStyle(document.querySelector('dd')).unicodeBidi")
        assert (width, turned) == ("704px", "bidi-override")
        with pytest.raises(playwright.Error, match=r"[Cc]ontent.[Ss]ecurity.[Pp]olicy"):
            await page.add_script_tag(content="document.title = 'taken'")

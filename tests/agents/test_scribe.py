"""The demo's provider of a model, as a process, asked as the border asks it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from agents.apps import scribe

ROOT = Path(__file__).parents[2]
KEY = "of-the-scribe-0123456789abcdefghijklmnop"
LONG = "One lamp came broken and was sent once more."
SAID = {"model": "scribe-1", "messages": [{"role": "user", "content": LONG}]}


def test_a_summary_is_how_the_text_begins() -> None:
    assert "".join(scribe.summary(LONG)) == "In short: One lamp came broken and was..."
    assert "".join(scribe.summary("One lamp")) == "In short: One lamp"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "agents.apps.scribe", "0"],
        cwd=ROOT,
        env={**os.environ, "SCRIBE_KEY": KEY},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def ask(url: str, key: str = KEY, **more: object) -> httpx2.Response:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx2.post(
        url + "/chat/completions", json={**SAID, **more}, headers=headers, timeout=10
    )


@pytest.mark.slow
def test_it_streams_in_pieces_and_says_what_it_used_to_whom_asks_for_that(url: str) -> None:
    lines = ask(url, stream=True, stream_options={"include_usage": True}).text.split("\n\n")
    pieces = scribe.summary(LONG)
    assert len(lines) == len(pieces) + 4  # the stop, the usage, the end, and nothing after it
    assert '"total_tokens": 22' in lines[-3]
    assert lines[-2] == "data: [DONE]"
    assert "usage" not in ask(url, stream=True).text


@pytest.mark.slow
def test_it_answers_nobody_without_its_key(url: str) -> None:
    assert [ask(url, key).status_code for key in (KEY, "another")] == [200, 401]

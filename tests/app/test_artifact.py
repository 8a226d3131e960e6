"""What a lock pins a server down to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.app.artifact import artifact_digest, artifact_shown
from gateway.config import Server, server_from


def server(base: Path, **table: Any) -> Server:
    return server_from("one", table, base)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"command": ["a", "b c"]}, {"command": ["a", "b", "c"]}),
        ({"command": ["a", "--key", "1"]}, {"command": ["a", "--key", "2"]}),
        ({"url": "https://x.example/mcp?t=1"}, {"url": "https://x.example/mcp?t=2"}),
        ({"python": "a.b"}, {"python": "a.c"}),
    ],
    ids=["words", "a word that is not shown", "a query that is not shown", "a module"],
)
def test_another_target_is_another_artifact(
    tmp_path: Path, one: dict[str, Any], other: dict[str, Any]
) -> None:
    assert artifact_digest(server(tmp_path, **one)) != artifact_digest(server(tmp_path, **other))


def test_the_terms_of_a_server_and_its_machine_are_no_part_of_it(tmp_path: Path) -> None:
    plain = server(tmp_path, command=["a"])
    here = server(tmp_path, command=["a"], cwd="/tmp", env={"A": "b"}, timeout_s=5, price=3)
    assert artifact_digest(plain) == artifact_digest(here)


def test_a_document_is_known_by_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / "b.json").write_text("{}")
    api = {"url": "https://x.example"}
    one, same = (server(tmp_path, **api, openapi=name) for name in ("a.json", "b.json"))
    before = artifact_digest(one)
    assert before == artifact_digest(same), "wherever it lies"
    (tmp_path / "a.json").write_text('{"paths": {}}')
    assert artifact_digest(one) != before
    writes = server(tmp_path, **api, openapi={"document": "b.json", "writes": True})
    assert artifact_digest(writes) != before
    (tmp_path / "b.json").unlink()
    assert artifact_digest(same) != before


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    words = ["run", "--api-key", "abc", "--token", "d e f", "--zone", "UTC"]
    assert artifact_shown(server(tmp_path, command=words)) == (
        "run --api-key ... --token ... --zone UTC"
    )
    assert artifact_shown(server(tmp_path, url="https://x.example/mcp?k=1")) == (
        "https://x.example/mcp"
    )

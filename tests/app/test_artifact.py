"""What a lock pins a server down to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.app.artifact import artifact_digest as digest_of
from gateway.app.artifact import artifact_shown
from gateway.config import Config, Server, load, server_from


def server(base: Path, **table: Any) -> Server:
    return server_from("one", table, base)


def config(base: Path) -> Config:
    base.mkdir(exist_ok=True)
    (base / "customhouse.toml").write_text("")
    return load(base / "customhouse.toml", {})


def artifact_digest(one: Server, base: Path | None = None) -> str:
    """With a configuration in *base*; where there is none, it does not matter."""
    return digest_of(one, config(base) if base else load(None, {}))


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


def test_the_terms_of_a_server_and_its_settings_are_no_part_of_it(tmp_path: Path) -> None:
    plain = server(tmp_path, command=["a"])
    here = server(tmp_path, command=["a"], env={"LOG_LEVEL": "b"}, timeout_s=5, price=3)
    assert artifact_digest(plain) == artifact_digest(here)


@pytest.mark.parametrize("target", [{"command": ["a"]}, {"python": "a"}], ids=["command", "python"])
@pytest.mark.parametrize(
    "variable",
    ["PATH", "PYTHONPATH", "PYTHONHOME", "NODE_PATH", "NODE_OPTIONS", "LD_PRELOAD", "HOME"],
)
def test_a_variable_that_decides_which_code_runs_is_part_of_it(
    tmp_path: Path, target: dict[str, Any], variable: str
) -> None:
    said = [
        artifact_digest(server(tmp_path, **target, env=env))
        for env in ({}, {variable: "/a"}, {variable: "/b"}, {variable: "env:A"})
    ]
    assert len(set(said)) == 4


def test_the_folder_of_a_program_is_part_of_it_counted_from_the_configuration(
    tmp_path: Path,
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"

    def digest(base: Path, **more: Any) -> str:
        return artifact_digest(server(base, command=["a", "./b"], **more), base)

    assert digest(one) == digest(two)
    assert digest(one, cwd="src") == digest(two, cwd="src")
    assert len({digest(one), digest(one, cwd="src"), digest(one, cwd="/src")}) == 3


def test_a_server_that_has_neither_is_locked_as_it_was_before(tmp_path: Path) -> None:
    """So that locks of before go on for most."""
    assert artifact_digest(server(tmp_path, command=["a"])) == (
        "9d509dde14f14af5ed484dfcabe9836988df075a2588ec10b0d3a644fff6b566"
    )


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

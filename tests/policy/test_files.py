"""Reading a policy folder: nothing from outside, nothing beyond bounds, one digest for all of it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from gateway.policy import files
from gateway.policy.files import PolicySource, bundle, read, unbundle, version
from gateway.policy.finding import PolicyInvalid
from tests.policy.made import POLICIES, source_of

BINDINGS = [("bot", "analyst", "default"), ("ant", "analyst", "acme")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    home = tmp_path / "policies"
    for name in ("tenants", "cases"):
        (home / name).mkdir(parents=True)
    (home / "policy.csv").write_text("p, a, b, tool/c/d, call, -, allow\n")
    (home / "tenants" / "acme.csv").write_text("p, a, acme, tool/c/d, call, -, allow\n")
    return home


def test_only_the_files_of_a_policy_are_read(folder: Path) -> None:
    (folder / "README.md").write_text("x")
    (folder / ".git").mkdir()
    (folder / ".hidden.csv").write_text("x")
    (folder / "policy.csv~").write_text("x")
    (folder / "tenants" / "acme.cvs").write_text("x")
    (folder / "tenants" / "eu").mkdir()
    (folder / "tenant").mkdir()
    source = read(folder)
    assert sorted(source.files) == ["policy.csv", "tenants/acme.csv"]
    assert source.ignored == ("policy.csv~", "tenant/", "tenants/acme.cvs", "tenants/eu/")


def test_rules_are_numbered_from_the_main_file_on(folder: Path) -> None:
    (folder / "tenants" / "aaa.csv").write_text("")
    assert read(folder).rule_files() == ("policy.csv", "tenants/aaa.csv", "tenants/acme.csv")


def test_a_link_out_of_the_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("p, *, *, *, *, -, allow")
    (folder / "tenants" / "evil.csv").symlink_to(secret)
    with pytest.raises(PolicyInvalid, match="leads out of the policy folder"):
        read(folder)


def test_a_subfolder_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "acme.csv").write_text("x")
    home = tmp_path / "policies"
    home.mkdir()
    (home / "tenants").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PolicyInvalid, match="leads out of the policy folder"):
        read(home)


def test_links_inside_the_folder_are_followed_as_mounted_volumes_need_it(folder: Path) -> None:
    (folder / "..2026").mkdir()
    (folder / "..2026" / "conditions.toml").write_text("# none")
    (folder / "conditions.toml").symlink_to(folder / "..2026" / "conditions.toml")
    assert read(folder).files["conditions.toml"] == b"# none"


def test_a_pipe_neither_hangs_nor_counts(folder: Path) -> None:
    os.mkfifo(folder / "conditions.toml")
    with pytest.raises(PolicyInvalid, match="not a regular file"):
        read(folder)


def test_a_file_that_is_too_large_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_FILE_BYTES", 50)
    (folder / "conditions.toml").write_text("#" * 51)
    with pytest.raises(PolicyInvalid, match="larger than 50 bytes"):
        read(folder)


def test_too_much_in_all_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_TOTAL_BYTES", 50)
    with pytest.raises(PolicyInvalid, match="more than 50 bytes"):
        read(folder)


def test_too_many_files_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_FILES", 1)
    with pytest.raises(PolicyInvalid, match="more than 1 policy files"):
        read(folder)


def test_a_folder_that_is_not_there_is_a_finding(tmp_path: Path) -> None:
    with pytest.raises(PolicyInvalid, match="cannot be read"):
        read(tmp_path / "nowhere")


def test_the_version_names_files_bindings_and_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    source = source_of("p, a, b, tool/c/d, call, -, allow")
    same = version(source, BINDINGS)
    assert len(same) == 64
    assert same == version(PolicySource(dict(reversed(list(source.files.items())))), BINDINGS[::-1])
    assert same != version(source, BINDINGS[:1])
    assert same != version(source_of("p, a, b, tool/c/d, call, -, deny"), BINDINGS)
    renamed = {("x.csv" if k == "policy.csv" else k): v for k, v in source.files.items()}
    assert same != version(PolicySource(renamed), BINDINGS)
    monkeypatch.setattr(files, "ENGINE", "customhouse-policy@2")
    assert same != version(source, BINDINGS)


def test_a_stored_policy_comes_back_as_it_was() -> None:
    source = read(POLICIES)
    again, bindings = unbundle(bundle(source, BINDINGS))
    assert again == source
    assert version(again, bindings) == version(source, BINDINGS)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda raw: raw + b" ",
        lambda raw: raw.replace(b'"files"', b'"filez"'),
        lambda raw: raw.replace(b"customhouse-policy@1", b"customhouse-policy@0"),
        lambda raw: raw.replace(b'["bot"', b'["bot","x"'),
        lambda raw: json.dumps(json.loads(raw) | {"files": []}).encode(),
        lambda raw: json.dumps(json.loads(raw) | {"files": {"a": "?"}}).encode(),
        lambda raw: raw[:-1],
        lambda raw: b"[]",
    ],
    ids=["space", "key", "engine", "binding", "no object", "no base64", "cut", "list"],
)
def test_stored_bytes_that_were_touched_are_refused(spoil: object) -> None:
    assert callable(spoil)
    raw = bundle(source_of("p, a, b, tool/c/d, call, -, allow"), BINDINGS)
    with pytest.raises(ValueError):  # noqa: PT011 - which of its reasons does not matter here
        unbundle(spoil(raw))

"""Files of others are replaced whole, where they seem to be, and only if nobody else wrote them."""

from __future__ import annotations

import errno
import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.cli.replacing import back_up, look, put, replaced
from gateway.domain.operator import Exit, OperationRefused

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def refused(path: Path, within: Path) -> str:
    with pytest.raises(OperationRefused) as no:
        look(path, within)
    assert no.value.exit_code is Exit.INVALID
    return no.value.why


def test_mode_and_name_stay_and_nothing_is_left_beside(tmp_path: Path) -> None:
    file = tmp_path / "mcp.json"
    file.write_text("old")
    file.chmod(0o640)
    put(look(file, tmp_path), b"new")
    assert (file.read_text(), mode(file)) == ("new", 0o640)
    assert list(tmp_path.iterdir()) == [file]


def test_a_new_file_and_its_folder_are_made_for_its_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "a" / "b" / "mcp.json"
    put(look(file, tmp_path), b"new")
    assert mode(file) == 0o600


def test_a_copy_is_for_its_owner_and_takes_nobodys_place(tmp_path: Path) -> None:
    file = tmp_path / "mcp.json"
    file.write_text("secret")
    file.chmod(0o644)
    copy = back_up(look(file, tmp_path), NOON)
    assert copy is not None
    assert (copy.read_text(), mode(copy)) == ("secret", 0o600)
    with pytest.raises(FileExistsError):
        back_up(look(file, tmp_path), NOON)
    assert back_up(look(tmp_path / "none", tmp_path), NOON) is None


def test_no_copy_is_left_of_what_was_not_replaced(tmp_path: Path) -> None:
    file = tmp_path / "mcp.json"
    file.write_text("secret")
    looked = look(file, tmp_path)
    file.write_text("theirs")
    with pytest.raises(OperationRefused):
        replaced(looked, b"ours", NOON)
    assert list(tmp_path.iterdir()) == [file]


def test_no_half_of_a_copy_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    file = tmp_path / "mcp.json"
    file.write_text("secret")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        replaced(look(file, tmp_path), b"ours", NOON)
    assert [(path, path.read_text()) for path in tmp_path.iterdir()] == [(file, "secret")]


@pytest.mark.parametrize("meanwhile", ["written", "removed", "replaced by a link", "made"])
def test_what_changed_since_it_was_looked_at_is_kept(tmp_path: Path, meanwhile: str) -> None:
    file, other = tmp_path / "mcp.json", tmp_path / "other"
    other.write_text("theirs")
    if meanwhile != "made":
        file.write_text("old")
    looked = look(file, tmp_path)
    if meanwhile in ("written", "made"):
        file.write_text("theirs")
    else:
        file.unlink()
    if meanwhile == "replaced by a link":
        file.symlink_to(other)
    with pytest.raises(OperationRefused) as no:
        put(looked, b"ours")
    assert no.value.exit_code is Exit.CONFLICT
    assert other.read_text() == "theirs"
    assert file.read_text() == "theirs" if file.exists() else meanwhile == "removed"
    assert not [left for left in tmp_path.iterdir() if left not in (file, other)]


def test_a_link_inside_stays_a_link_and_leads_to_what_was_written(tmp_path: Path) -> None:
    (tmp_path / "dotfiles").mkdir()
    real = tmp_path / "dotfiles" / "mcp.json"
    real.write_text("old")
    link = tmp_path / "mcp.json"
    link.symlink_to(real)
    put(look(link, tmp_path), b"new")
    assert link.is_symlink()
    assert real.read_text() == "new"


def test_a_link_that_leads_outside_is_not_followed(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    (outside / "mcp.json").write_text("precious")
    (inside / "mcp.json").symlink_to(outside / "mcp.json")
    (inside / ".vscode").symlink_to(outside)
    (inside / "dangling").symlink_to(outside / "not there")
    for name in ("mcp.json", ".vscode/mcp.json", "dangling"):
        assert "outside" in refused(inside / name, inside)
    assert [path.name for path in outside.iterdir()] == ["mcp.json"]


def test_what_is_no_file_is_left_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    for name in ("pipe", "folder", "circle"):
        assert refused(tmp_path / name, tmp_path)


def test_a_file_of_somebody_else_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mcp.json").write_text("theirs")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert "somebody else" in refused(tmp_path / "mcp.json", tmp_path)


def test_text_that_is_none_is_not_taken_for_text(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\xff")
    with pytest.raises(OperationRefused):
        _ = look(tmp_path / "x", tmp_path).text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_root_leaves_a_file_and_its_copy_to_whose_they_are(tmp_path: Path) -> None:
    file = tmp_path / "mcp.json"
    file.write_text("old")
    os.chown(file, 1234, 1235)
    copy = replaced(look(file, tmp_path), b"new", NOON)
    assert copy is not None
    for path in (file, copy):
        assert (path.stat().st_uid, path.stat().st_gid) == (1234, 1235)

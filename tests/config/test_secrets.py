"""Secrets by reference, keys that cannot be guessed, and no open door without them."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import ConfigError, agent_keys, check_exposure, resolve
from tests.config.reading import EXAMPLE, KEY, read


def secret_file(folder: Path, body: bytes, mode: int = 0o600) -> Path:
    file = folder / "secret"
    file.write_bytes(body)
    file.chmod(mode)
    return file


def test_a_secret_comes_from_the_environment_or_from_a_file(tmp_path: Path) -> None:
    assert resolve("env:TOKEN", {"TOKEN": "abc"}) == "abc"
    for body in (b"abc", b"abc\n", b"abc\r\n"):
        assert resolve(f"file:{secret_file(tmp_path, body)}", {}) == "abc"


@pytest.mark.parametrize(
    ("body", "mode", "said"),
    [
        pytest.param(b"abc", 0o620, "other users can write it", id="writable by the group"),
        pytest.param(b"abc", 0o602, "other users can write it", id="writable by all"),
        pytest.param(b"", 0o600, "one line of text", id="empty"),
        pytest.param(b"abc\ndef\n", 0o600, "one line of text", id="two lines"),
        pytest.param(b"abc\n\n", 0o600, "one line of text", id="a blank line"),
        pytest.param(b" abc", 0o600, "one line of text", id="a blank"),
        pytest.param(b"abc\x00", 0o600, "one line of text", id="NUL"),
        pytest.param(b"\xff", 0o600, "not UTF-8", id="not text"),
        pytest.param(b"a" * 70_000, 0o600, "more than", id="too long"),
    ],
)
def test_a_file_that_is_no_safe_secret_is_refused(
    tmp_path: Path, body: bytes, mode: int, said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(f"file:{secret_file(tmp_path, body, mode)}", {})
    assert said in str(caught.value)


def test_what_is_not_there_or_not_a_file_is_refused(tmp_path: Path) -> None:
    for reference in (f"file:{tmp_path / 'none'}", f"file:{tmp_path}", "env:NONE"):
        with pytest.raises(ConfigError):
            resolve(reference, {})
    with pytest.raises(ConfigError) as caught:
        resolve(KEY, {})
    assert KEY not in str(caught.value)


def test_a_secret_that_every_user_can_read_is_warned_of_because_containers_mount_them_so(
    folder: Path,
) -> None:
    text = '[agents.a]\nkey = "file:secret"\n'
    secret_file(folder, KEY.encode(), 0o644)
    assert "every user" in read(folder, text).warnings[0]
    secret_file(folder, KEY.encode(), 0o640)
    assert read(folder, text).warnings == ()


def test_a_credential_over_plain_http_to_another_machine_is_warned_of(folder: Path) -> None:
    text = '[servers.s]\nurl = "http://{}/mcp"\nauth = "env:T"\n'
    assert "unencrypted" in read(folder, text.format("mcp.example.com")).warnings[0]
    for here in ("127.0.0.1:9", "localhost:9", "[::1]:9"):
        assert read(folder, text.format(here)).warnings == ()


def test_the_keys_of_agents_are_looked_up_when_asked_for_and_not_before(folder: Path) -> None:
    config = read(folder, EXAMPLE)
    assert agent_keys(config, {"REPORT_BOT_KEY": KEY}) == {"report-bot": KEY}
    with pytest.raises(ConfigError, match="REPORT_BOT_KEY is not set"):
        agent_keys(config, {})


@pytest.mark.parametrize("key", ["short", KEY[:31], "a" * 64, "abc" * 20, "\u00e9" + KEY], ids=len)
def test_a_key_that_can_be_guessed_is_refused_and_not_repeated(folder: Path, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        agent_keys(read(folder, EXAMPLE), {"REPORT_BOT_KEY": key})
    assert "can be guessed" in str(caught.value)
    assert key not in str(caught.value)


def test_two_agents_with_one_key_would_be_one_caller_with_two_names(folder: Path) -> None:
    config = read(folder, '[agents.a]\nkey = "env:A"\n[agents.b]\nkey = "env:B"\n')
    with pytest.raises(ConfigError, match="same key"):
        agent_keys(config, {"A": KEY, "B": KEY})


# -- exposure -------------------------------------------------------------------------------------


@pytest.mark.parametrize("listen", ["127.0.0.1:1", "127.8.8.8:1", "localhost:0", "[::1]:1"])
def test_listening_to_this_machine_needs_no_key(folder: Path, listen: str) -> None:
    config = read(folder, f'listen = "{listen}"')
    check_exposure(config, issued_keys=0)
    assert not config.agents


@pytest.mark.parametrize(
    "listen", ["0.0.0.0:1", "[::]:1", "192.168.1.2:1", "gateway.example.com:1"]
)
def test_listening_to_others_is_refused_while_nobody_can_authenticate(
    folder: Path, listen: str
) -> None:
    config = read(folder, f'listen = "{listen}"\n[agents.a]\n')
    with pytest.raises(ConfigError, match="no agent has a key"):
        check_exposure(config, issued_keys=0)
    check_exposure(config, issued_keys=1)
    check_exposure(read(folder, f'listen = "{listen}"\n[agents.a]\nkey = "env:A"\n'), issued_keys=0)

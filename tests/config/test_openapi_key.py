"""The key `openapi`: a server whose URL is not an MCP server, and the document that describes it."""

from pathlib import Path

import pytest

from gateway.config import ConfigError, OpenApi
from tests.config.reading import read


def api(folder: Path, lines: str) -> OpenApi | None:
    text = f'[servers.api]\nurl = "https://api.example.com/v1"\n{lines}'
    return read(folder, text).servers["api"].openapi


def test_a_document_is_a_path_beside_the_file_or_a_url(tmp_path: Path) -> None:
    assert api(tmp_path, 'openapi = "api.yaml"') == OpenApi(str(tmp_path / "api.yaml"))
    url = "https://api.example.com/openapi.json"
    assert api(tmp_path, f'openapi = "{url}"') == OpenApi(url)
    assert api(tmp_path, "") is None


def test_writing_is_asked_for_beside_the_document(tmp_path: Path) -> None:
    lines = 'openapi = { document = "api.yaml", writes = true }'
    assert api(tmp_path, lines) == OpenApi(str(tmp_path / "api.yaml"), writes=True)


@pytest.mark.parametrize(
    ("lines", "what"),
    [
        ('openapi = ""', "expected a string"),
        ("openapi = 1", "expected a table"),
        ("openapi = {}", "expected a path, a URL"),
        ('openapi = { document = "x", write = true }', "expected a path, a URL"),
        ('openapi = { document = "x", writes = "yes" }', "expected true or false for writes"),
        ("openapi = { document = 1 }", "expected a string"),
        ('openapi = "https://me:pw@api.example.com/x.json"', "a URL carries no user"),
        ('openapi = "file:///etc/passwd"', "expected a URL"),
    ],
)
def test_what_is_no_document_is_refused(tmp_path: Path, lines: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        api(tmp_path, lines)


def test_without_a_url_nobody_knows_where_the_operations_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="openapi has no meaning without url"):
        read(tmp_path, '[servers.api]\ncommand = ["x"]\nopenapi = "api.yaml"')


def test_a_query_of_a_document_is_not_shown(tmp_path: Path) -> None:
    text = '[servers.api]\nurl = "https://a.example"\nopenapi = "https://a.example/x?key=1"'
    shown = {one.key: one.value for one in read(tmp_path, text).show()}
    assert shown["servers.api.openapi"] == '"https://a.example/x?..."'

"""Somebody else's JSON and TOML: one thing changed, everything else as it was, to the byte."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.clients import Syntax, read_document
from gateway.config.jsontext import Unchanged, with_item, with_value, without_value
from gateway.config.tomltext import with_table, without_table

KEYS = ("mcpServers", "gw")
NEW = {"url": "http://x/mcp"}
RENDERED = '{\n      "url": "http://x/mcp"\n    }'


def jsonc(text: str) -> Any:
    return read_document(text, Syntax.JSONC)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("", '{\n  "mcpServers": {\n    "gw": %s\n  }\n}\n'),
        ("{}\n", '{\n  "mcpServers": {\n    "gw": %s\n  }\n}\n'),
        ('{\n  "a": 1\n}', '{\n  "a": 1,\n  "mcpServers": {\n    "gw": %s\n  }\n}'),
        ('{\n  "mcpServers": {}\n}', '{\n  "mcpServers": {\n    "gw": %s\n  }\n}'),
        (
            '{\n  "mcpServers": {\n    "b": {"url": "y"} // why\n    // last\n  }\n}',
            '{\n  "mcpServers": {\n    "b": {"url": "y"}, // why\n    // last\n    "gw": %s\n  }\n}',
        ),
        (
            '{\n  "mcpServers": {\n    "b": 1, /* , } */\n  },\n}',
            '{\n  "mcpServers": {\n    "b": 1, /* , } */\n    "gw": %s\n  },\n}',
        ),
        (
            '{\n  "mcpServers": {\n    "gw": {"url": "old"}\n  }, "z": "{"\n}',
            '{\n  "mcpServers": {\n    "gw": %s\n  }, "z": "{"\n}',
        ),
    ],
    ids=[
        *("no file", "an empty one", "another key", "no servers", "comments"),
        *("commas that nothing follows", "one that is replaced"),
    ],
)
def test_one_member_is_put_in_and_the_rest_is_as_it_was(old: str, new: str) -> None:
    assert with_value(old, KEYS, NEW, jsonc) == new % RENDERED
    windows = old.replace("\n", "\r\n")
    if "\r" in windows and old.strip() != "{}":
        assert with_value(windows, KEYS, NEW, jsonc) == (new % RENDERED).replace("\n", "\r\n")


def test_tabs_one_line_and_a_byte_order_mark_stay_what_they_are() -> None:
    tabs = '{\n\t"mcpServers": {\n\t\t"a": 1\n\t}\n}'
    assert '\n\t\t"gw": {\n\t\t\t"url"' in with_value(tabs, KEYS, NEW, jsonc)
    line = '{"mcpServers": {"a": 1}}'
    one = '{"mcpServers": {"a": 1, "gw": {"url": "http://x/mcp"}}}'
    assert with_value(line, KEYS, NEW, jsonc) == one
    assert with_value("\ufeff" + line, KEYS, NEW, jsonc) == "\ufeff" + one


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('{"s": {"gw": 1}}', '{"s": {}}'),
        ('{"s": {"a": 2, "gw": 1}}', '{"s": {"a": 2 }}'),
        ('{"s": {"gw": 1, "a": 2}}', '{"s": { "a": 2}}'),
        (
            '{"s": {\n  // of a\n  "a": 2, // why\n  // of gw\n  "gw": {\n    "x": 1\n  }\n}}',
            '{"s": {\n  // of a\n  "a": 2 // why\n  // of gw\n}}',
        ),
        ('{"s": {\n  "gw": 1,\n  "a": 2,\n}}', '{"s": {\n  "a": 2,\n}}'),
    ],
    ids=["the only one", "the last", "the first", "comments stay", "commas that nothing follows"],
)
def test_one_member_is_taken_out(old: str, new: str) -> None:
    assert without_value(old, ("s", "gw"), jsonc) == new


@pytest.mark.parametrize(
    "text",
    [
        '{"mcpServers": {"gw": 1, "gw": 2}}',
        '{"mcpServers": {}, "mcpServers": {}}',
        '{"mcpServers": []}',
        '{"mcpServers": "x"}',
        "[]",
        '{"mcpServers": {}} more',
        "[" * 5_000,
        '{"a": /* ',
        '{"a" 1}',
    ],
)
def test_what_could_be_read_in_two_ways_is_left_alone(text: str) -> None:
    with pytest.raises((Unchanged, ValueError)):
        with_value(text, KEYS, NEW, json.loads)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("", '{\n  "l": [\n    1\n  ]\n}\n'),
        ('{"l": []}', '{"l": [\n  1\n]}'),
        ('{"l": [0]}', '{"l": [0, 1]}'),
        ('{\n  "l": [\n    0 // why\n  ]\n}', '{\n  "l": [\n    0, // why\n    1\n  ]\n}'),
    ],
    ids=["no file", "an empty list", "on one line", "a comment"],
)
def test_one_item_is_put_at_the_end_of_a_list(old: str, new: str) -> None:
    assert with_item(old, ("l",), 1, jsonc) == new
    with pytest.raises(Unchanged):
        with_item('{"l": {}}', ("l",), 1, jsonc)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(
    st.dictionaries(st.text(max_size=4), JSON, max_size=4),
    st.sampled_from([None, 0, 2, "\t"]),
    st.sampled_from(["s", "", "\u00e9\\"]),
)
def test_putting_in_and_taking_out_again_leaves_every_value(
    document: dict[str, Any], indent: Any, key: str
) -> None:
    document.pop(key, None)
    text = json.dumps(document, indent=indent)
    changed = with_value(text, (key, "gw"), NEW, json.loads)
    assert json.loads(changed) == {**document, key: {"gw": NEW}}
    assert json.loads(without_value(changed, (key,), json.loads)) == document


TOML = """\
# mine
model = "x" # yes

[mcp_servers.docs]
command = "docs"
args = [
  "a", # first
]

[mcp_servers.docs.env]
A = "[mcp_servers.docs]"

[[profiles]]
name = "p"
"""


def test_a_table_is_put_at_the_end_and_taken_out_again() -> None:
    changed = with_table(TOML, ("mcp_servers", "gw"), {"url": "http://x/\u00fc", "args": ["a\\"]})
    added = '\n[mcp_servers.gw]\nurl = "http://x/\u00fc"\nargs = ["a\\\\"]\n'
    assert changed == TOML + added
    assert without_table(changed, ("mcp_servers", "gw")) == TOML + "\n"
    assert with_table("", ("a", "b"), {"c": "d"}) == '[a.b]\nc = "d"\n'


def test_a_table_goes_with_what_is_below_it_and_nothing_else() -> None:
    left = without_table(TOML, ("mcp_servers", "docs"))
    assert left == '# mine\nmodel = "x" # yes\n\n[[profiles]]\nname = "p"\n'
    replaced = with_table(TOML, ("mcp_servers", "docs"), {"url": "u"})
    assert tomllib.loads(replaced)["mcp_servers"] == {"docs": {"url": "u"}}


def test_comments_behind_a_table_stay_for_the_next_one() -> None:
    old = "[a.b]\nx = 1 # of b\n# of b\ny = 2\n\n# of c\n\n# of c, too\n[c]\n"
    assert without_table(old, ("a", "b")) == "# of c\n\n# of c, too\n[c]\n"
    windows = old.replace("\n", "\r\n")
    assert without_table(windows, ("a", "b")) == "# of c\r\n\r\n# of c, too\r\n[c]\r\n"
    assert without_table("[a.b]\nx = 1\n# the end", ("a", "b")) == "# the end"


def test_what_only_looks_like_a_line_is_none() -> None:
    comment = "# see\u2028[a.b]\n# more\n"
    assert without_table(f"{comment}[a.b]\nx = 1\n", ("a", "b")) == comment


def test_a_file_that_has_something_else_there_is_left_alone() -> None:
    with pytest.raises(Unchanged):
        with_table("mcp_servers = 1\n", ("mcp_servers", "gw"), {"url": "u"})


@pytest.mark.parametrize(
    "text",
    [
        'mcp_servers = { docs = { url = "x" } }\n',
        'mcp_servers.docs.url = "x"\n',
        '[mcp_servers]\ndocs = { url = "x" }\n',
        'a = """\n[mcp_servers.docs]\n"""\n[mcp_servers.docs]\nurl = "x"\n',
        '[mcp_servers.docs]\na = """\n[b]\n"""\n',
    ],
    ids=["inline", "dotted", "half inline", "in a string", "a header in a string of it"],
)
def test_a_table_that_is_written_otherwise_is_left_alone(text: str) -> None:
    with pytest.raises(Unchanged):
        without_table(text, ("mcp_servers", "docs"))

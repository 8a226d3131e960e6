"""[issuers.NAME]: whose tokens are believed, and everything that cannot be meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import ConfigError, Issuer, check_exposure
from tests.config.reading import read, refused

CORP = '[issuers.corp]\nurl = "https://login.example.com/"\n'


def test_an_issuer_is_kept_to_the_letter(folder: Path) -> None:
    config = read(
        folder,
        'public_url = "https://Tools.example.com/"\n'
        + CORP
        + 'team = "red"\nroles = { "scope:tools.read" = "reader", "https://example.com/g:a:b" = "b",'
        ' "aud:x" = "c" }\n[issuers.other]\nurl = "http://127.0.0.1:9000/realms/a"\n'
        'jwks = "https://keys.example.com/a?b=c"\naudience = "api://border"\n'
        'algorithms = ["RS256"]\n[teams.red]\ntenant = "acme"\n',
    )
    assert config.public_url == "https://tools.example.com"
    assert config.issuers["corp"] == Issuer(
        url="https://login.example.com/",
        algorithms=("RS256", "ES256", "EdDSA", "Ed25519"),
        roles=(
            ("scope", "tools.read", "reader"),
            ("https://example.com/g", "a:b", "b"),
            ("aud", "x", "c"),
        ),
        tenant="acme",
        team="red",
    )
    assert config.issuers["other"] == Issuer(
        url="http://127.0.0.1:9000/realms/a",
        algorithms=("RS256",),
        roles=(),
        tenant="default",
        audience="api://border",
        jwks="https://keys.example.com/a?b=c",
    )
    assert config.proved_roles == {"reader", "b", "c"}


def row(line: str, where: str, said: str) -> tuple[str, str, str]:
    return CORP + line, f"issuers.corp{where}", said


REFUSED = {
    "an issuer of nowhere": ("[issuers.corp]", "issuers.corp", "has no url"),
    "an issuer in the clear": ('[issuers.a]\nurl = "http://h.example"', "issuers.a.url", "https"),
    "a private one in the clear": ('[issuers.a]\nurl = "http://10.0.0.1"', "issuers.a.url", "https"),
    "a number in the clear": ('[issuers.a]\nurl = "http://2130706433"', "issuers.a.url", "https"),
    "an issuer with a user": ('[issuers.a]\nurl = "https://u@h"', "issuers.a.url", "no user"),
    "an issuer with a query": ('[issuers.a]\nurl = "https://h/?a"', "issuers.a.url", "no ?query"),
    "an issuer with a fragment": ('[issuers.a]\nurl = "https://h/#a"', "issuers.a.url", "#fragment"),
    "an issuer that is a word": ('[issuers.a]\nurl = "corp"', "issuers.a.url", "expected a URL"),
    "an issuer with a backslash": ('[issuers.a]\nurl = "https://h\\\\@i"', "issuers.a.url", "a URL"),
    "keys in the clear": row('jwks = "http://h.example/jwks"', ".jwks", "https"),
    "keys in a file": row('jwks = "file:///etc/jwks"', ".jwks", "expected a URL"),
    "nobody's signature": row('algorithms = ["none"]', ".algorithms", "a public key"),
    "a secret for a signature": row('algorithms = ["ES256", "HS256"]', ".algorithms", "public key"),
    "no algorithm": row("algorithms = []", ".algorithms", "a public key"),
    "an algorithm in small letters": row('algorithms = ["es256"]', ".algorithms", "a public key"),
    "roles in a list": row('roles = ["reader"]', ".roles", "expected a table"),
    "a role without a claim": row('roles = { reader = "reader" }', ".roles", "a claim and its value"),
    "a claim without a value": row('roles = { "scope:" = "reader" }', ".roles", "its value"),
    "a role that is no name": row('roles = { "scope:a" = "A b" }', ".roles", "expected a name"),
    "two scopes in one": row('roles = { "scope:a b" = "r" }', ".roles", "expected one scope"),
    "a quoted scope": row("roles = { 'scope:a\"b' = \"r\" }", ".roles", "expected one scope"),
    "a role that is an agent": row('roles = { "scope:a" = "bot" }\n[agents.bot]', ".roles", "is an agent"),
    "one issuer twice": (
        CORP + CORP.replace("corp", "two"), "issuers.two.url", "are the same one"),
    "a team in two tenants": row(
        'team = "t"\ntenant = "x"\n[teams.t]\ntenant = "y"', ".tenant", "issuer corp is in tenant x"),
    "an address with a path": ('public_url = "https://h/mcp"', "public_url", "the address alone"),
    "an address in the clear": ('public_url = "http://h.example"', "public_url", "https"),
    "an issuer, and no address": ('listen = "0.0.0.0:80"\n' + CORP, "public_url", "no public_url"),
    "a key that is none": row("leeway = 5", ".leeway", "there is no key"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "where", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_meant_is_refused(folder: Path, text: str, where: str, said: str) -> None:
    error = refused(folder, text)
    assert where in error.where
    assert said in str(error)
    assert error.fix


def test_who_believes_tokens_may_be_reached_without_a_key(folder: Path) -> None:
    exposed = 'listen = "0.0.0.0:8080"\npublic_url = "https://tools.example.com"\n'
    with pytest.raises(ConfigError):
        check_exposure(read(folder, exposed), 0)
    check_exposure(read(folder, exposed + CORP), 0)

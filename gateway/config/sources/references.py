"""Values of other people's files: secrets become references, and are told; nothing is looked up.

"${GITHUB_TOKEN}", "${env:GITHUB_TOKEN}"   env:UPSTREAM_GITHUB_TOKEN, and a person is told to set it
"ghp_16C7e42F292c6912E7710c838347Ae178B4a"  the same
"${input:gh-token}"                        env:UPSTREAM_GITHUB_GH_TOKEN, the same
"${workspaceFolder}/docs"                  the project's folder, and /docs
"debug"                                    debug

Whoever wrote the file chose names of variables, and where their values are sent. Those that the
gateway has are its own secrets, so no name is taken over: all begin with UPSTREAM_ and the server.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from gateway.config.secrets import is_reference
from gateway.config.sources.candidate import Findings, Ground
from gateway.config.sources.loaders import CHOOSES_CODE, chooses_code

OWN_VARIABLES = "UPSTREAM_"
_PLACEHOLDER = re.compile(r"\$\{([^{}]*)\}|\$([A-Za-z_][A-Za-z0-9_]*)")
_VARIABLE = re.compile(r"(?:env:)?([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
_SECRET_WORDS = frozenset(
    {"token", "secret", "password", "passwd", "passphrase", "pwd", "pass", "key", "apikey"}
    | {"credential", "credentials", "auth", "authorization", "pat", "cert", "cookie", "session"}
    | {"dsn", "salt", "signature", "webhook", "bearer", "jwt"}
    | {"pin", "otp", "totp", "mnemonic", "hmac"}
)
_SECRET_BEGINS = ("pass",)
_SECRET_ENDS = ("token", "secret", "password", "key", "credentials", "pass", "passwd", "pwd", "pw")
_WORD_EDGE = re.compile(r"[^A-Za-z0-9]+|(?<=[a-z0-9])(?=[A-Z])")
# What a value looks like that everybody may read. All else is taken for a secret.
_PLAIN = re.compile(
    r"-?[0-9]{1,10}(\.[0-9]{1,6})?"  # a number
    r"|[A-Za-z0-9][A-Za-z0-9._-]{0,11}"  # a short word, a version, a locale
    r"|[A-Za-z][A-Za-z ._/:,+-]{0,31}"  # words, Europe/Berlin
)
_PATH = re.compile(r"(?:~?/|\.\.?/|[A-Za-z]:\\)[^\0?#]{0,255}|\.")
_LONG = re.compile(r"[A-Za-z0-9_+=-]{20,}")
_SWITCH = re.compile(r"[A-Za-z](?=[0-9])|[0-9](?=[A-Za-z])")
_MIXED = 3  # switches between letters and digits in one word, more than names of things have
_LETTERS = re.compile(r"[A-Za-z]{24,}")
# What follows -p: a password, not a port, a path, a package or a version.
_AFTER_P = re.compile(r"(?!py)(?=.*[A-Za-z])(?=.*[0-9])[A-Za-z0-9!#$%^&*+_-]{6,}")
_TOKEN_SHAPED = re.compile(
    r"(gh[oprsu]_|github_pat_|glpat-|sk-|sk_|rk_|xox[abeprs]-|AKIA|ASIA|AIza|ya29\.|eyJ|hf_|npm_|pypi-"
    r"|dop_v1_|shpat_|SG\.|lin_api_|ntn_|secret_|figd_)[A-Za-z0-9_.-]{8,}"
)
_PASSWORD_IN_URL = re.compile(r"://[^/@\s]*:[^/@\s]+@")
_ASSIGNED = re.compile(r"[\s;?&]*-*([A-Za-z][A-Za-z0-9_.-]*)\s*[=:]\s*(.+)", re.DOTALL)
_NAMES_A_FILE = ("-file", "-path", "-dir", "_file", "_path", "_dir")
_FLAG = re.compile(r"--?[A-Za-z][A-Za-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class Variable:
    """Something that a client looks up when it reads its file."""

    name: str  # in the environment
    default: str | None = None
    asked: bool = False  # the client asks a person for it
    known: bool = True  # False: nobody here can say what it would be


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one entry's words are read."""

    server: str  # its name, for the variables that are made up for its secrets
    ground: Ground
    bare_dollar: bool = False  # $NAME is a variable, too

    def parts(self, text: str) -> list[str | Variable]:
        """*text* as literal pieces and what stands between them; what is known is filled in."""
        found: list[str | Variable] = []
        done = 0
        for place in _PLACEHOLDER.finditer(text):
            if place[2] and not self.bare_dollar:
                continue
            found += [text[done : place.start()], self._meant(place[1] or place[2] or "")]
            done = place.end()
        return list(_joined([*found, text[done:]]))

    def _meant(self, inside: str) -> str | Variable:
        ground = self.ground
        known = {"userHome": str(ground.home), "HOME": str(ground.home), "/": "/"}
        if ground.project:
            known["workspaceFolder"] = str(ground.project)
        inside = inside.removeprefix("env:") if inside == "env:HOME" else inside
        if inside in ("workspaceFolder", "workspaceFolderBasename", "cwd"):
            return known.get(inside) or Variable(inside, known=False)
        if inside in known or inside == "pathSeparator":
            return known.get(inside, "/")
        if inside.startswith("input:"):
            return Variable(inside.removeprefix("input:")[:40], asked=True)
        named = _VARIABLE.fullmatch(inside)
        return Variable(named[1], named[2]) if named else Variable(inside[:40], known=False)

    def variable_for(self, key: str) -> str:
        """The name of the variable for the secret *key* of this server, and of nothing else.

        Not *key* itself, and not with the server's name alone before it: the file chose both, and
        could have called the server openai.
        """
        own = re.sub(r"[^A-Z0-9]+", "_", self.server.upper()).strip("_")
        name = re.sub(r"[^A-Z0-9]+", "_", key.upper()).strip("_") or "SECRET"
        return f"{OWN_VARIABLES}{own}_{name.removeprefix(f'{own}_')}"

    def setting(self, key: str, text: str, findings: Findings) -> str:
        """The value of the environment variable *key*, or the reference that takes its place."""
        parts = self.parts(text)
        if chooses_code(key):
            findings.note(CHOOSES_CODE.format(key))
        match parts:
            case [Variable() as one]:
                return self._variable(key, one, findings)
            case [str() as literal] if not is_secret_name(key) and is_plain(literal):
                return literal
            case [] if not is_secret_name(key):
                return ""
            case _:
                pass
        name = self.variable_for(key)
        findings.note(f"{key}: its value was not taken over; set {name} for the gateway")
        return f"env:{name}"

    def word(self, text: str, findings: Findings, what: str) -> str:
        """*text* where no reference can stand. What it needs is a reason to leave the entry out."""
        words: list[str] = []
        for part in self.parts(text):
            if isinstance(part, str):
                words.append(part)
            elif part.default is not None and is_plain(part.default):
                findings.note(f"{what}: {part.name} is not looked up; its default was taken")
                words.append(part.default)
            else:
                findings.refuse(f"{what} needs {part.name}, and only env and auth can refer to one")
        return "".join(words)

    def _variable(self, key: str, one: Variable, findings: Findings) -> str:
        if not one.known:
            findings.refuse(f"{key} needs {one.name}, which only the client can look up")
            return ""
        if one.default is not None and is_plain(one.default) and not is_secret_name(key):
            findings.note(f"{key}: {one.name} is not looked up; its default was taken")
            return one.default
        return self.referred(key, one, findings)

    def referred(self, key: str, one: Variable, findings: Findings) -> str:
        """The reference in the place of what the client looks up for *key*, and it is told."""
        name = self.variable_for(one.name)
        whence = "asks for it" if one.asked else f"takes it from {one.name}"
        findings.note(f"{key}: the client {whence}; set {name} for the gateway")
        return f"env:{name}"


def is_secret_name(name: str) -> bool:
    """Whether what goes by *name* is probably a secret."""
    words = {word.lower() for word in _WORD_EDGE.split(name)}
    return any(
        word in _SECRET_WORDS or word.startswith(_SECRET_BEGINS) or word.endswith(_SECRET_ENDS)
        for word in {*words, name.lower()}
    )


def is_plain(value: str) -> bool:
    """Whether *value* may be stored and shown. What is not known to be harmless may not."""
    if is_reference(value) or _TOKEN_SHAPED.search(value) or not value.isprintable():
        return False  # a text that reads like a reference would become one
    if _PLAIN.fullmatch(value):
        return not _LONG.search(value) and len(_SWITCH.findall(value)) < _MIXED
    if value.startswith(("http://", "https://")):
        return is_plain_url(value)
    return bool(_PATH.fullmatch(value)) and not _is_random(value)


def secret_argument(words: list[str]) -> int:
    """The place of the first word of a command that looks like a secret; -1 when none does."""
    for place, word in enumerate(words):
        before = words[place - 1] if place else ""
        after_flag = bool(_FLAG.fullmatch(before)) and is_secret_name(before)
        after_flag = after_flag and not before.endswith(_NAMES_A_FILE)
        after_flag = after_flag and not before.startswith("--no-")
        if after_flag and word and not word.startswith(("-", "$")):
            return place
        if _is_secret_word(word) or (before == "-p" and _AFTER_P.fullmatch(word)):
            return place
    return -1


def _is_secret_word(word: str) -> bool:
    if _TOKEN_SHAPED.search(word) or _PASSWORD_IN_URL.search(word):
        return True
    if any(is_secret_name(key) for key in _query_keys(word)):
        return True
    assigned = _ASSIGNED.fullmatch(word)
    if assigned and "://" not in word and is_secret_name(assigned[1]):
        return not assigned[2].startswith(("$", "env:"))
    if word.startswith(("http://", "https://")):
        return _has_key(word.partition("://")[2].partition("?")[0].partition("/")[2])
    return bool(_LONG.fullmatch(word)) and _is_random(word)


def _query_keys(word: str) -> Iterator[str]:
    if "://" in word and "?" in word:
        for pair in word.partition("?")[2].split("&"):
            yield pair.partition("=")[0]


def _is_random(text: str) -> bool:
    """Whether some part of *text* is long and mixed as only machines write."""
    return any(
        len(_SWITCH.findall(run)) >= 4
        or (any(c.isdigit() for c in run) and run != run.lower() and run != run.upper())
        for run in _LONG.findall(text)
    )


def _has_key(path: str) -> bool:
    """Whether a part of a URL's *path* is one that only its owner is meant to know."""
    return _is_random(path) or any(
        (len(part) >= 8 and len(_SWITCH.findall(part)) >= _MIXED) or _LETTERS.fullmatch(part)
        for part in path.split("/")
    )


def is_plain_url(url: str) -> bool:
    """Whether *url* may be stored and shown: no part of it looks like a secret."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    if "@" in parts.netloc or parts.fragment or _has_key(parts.path):
        return False
    pairs = [pair.partition("=") for pair in parts.query.split("&") if pair]
    return all(is_plain(value) and not is_secret_name(key) for key, _, value in pairs)


def _joined(parts: list[str | Variable]) -> Iterator[str | Variable]:
    """Literal pieces beside one another as one; empty ones are none."""
    literal = ""
    for part in parts:
        if isinstance(part, str):
            literal += part
            continue
        if literal:
            yield literal
        literal = ""
        yield part
    if literal:
        yield literal

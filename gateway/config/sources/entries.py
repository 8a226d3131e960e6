"""One entry of a client's configuration -> one server. What is not understood is said, never dropped.

    {"command": "npx", "args": ["-y", "server"], "env": {...}, "cwd": ...}     a process
    {"type": "http", "url": ..., "headers": {"Authorization": "Bearer ..."}}   Streamable HTTP

A command is a program and its arguments. No shell reads them here, whatever they hold.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from gateway.config import ConfigError, server_from
from gateway.config.sources.candidate import Candidate, Findings, Ground, fit_name
from gateway.config.sources.references import (
    Dialect,
    Variable,
    is_plain_url,
    secret_argument,
)

_META = re.compile(r"[;&|<>`$(){}*?!\\\n\r]")
_RELATIVE = re.compile(r"\.\.?([/\\].*)?")
_SHELLS = frozenset({"sh", "bash", "zsh", "dash", "fish", "cmd", "cmd.exe", "powershell", "pwsh"})
_HTTP = frozenset({"http", "streamable-http", "streamablehttp", "streamable_http"})
_USUAL_HEADERS = frozenset({"accept", "content-type", "user-agent"})
# Says nothing of how the server is run or reached.
_SILENT = frozenset({"type", "transport", "description", "icon", "gallery", "version", "name"})
_SILENT |= {"dev", "enabled", "disabled", "http_headers", "env_http_headers", "bearer_token"}
_TRUST = frozenset(
    ("trust", "alwaysAllow", "autoApprove", "approval_mode", "default_tools_approval_mode", "tools")
)


@dataclass(slots=True)
class Entry:
    """One entry while it is read: its raw members, and what has come of them."""

    called: str
    members: Mapping[str, Any]
    dialect: Dialect
    url_is_sse: bool = False  # Gemini: "url" without more means HTTP+SSE
    table: dict[str, Any] = field(default_factory=dict)
    findings: Findings = field(default_factory=Findings)
    seen: set[str] = field(default_factory=set)

    def candidate(self) -> Candidate:
        """What the entry would be here."""
        name = fit_name(self.called)
        if not name:
            self.findings.hold("no name for a server can be made of its own: add it with --as NAME")
        self._read()
        return finished(self.called, name, self.table, self.findings, self.dialect.ground)

    def _read(self) -> None:
        way = self._way()
        if way == "command":
            self._process()
        elif way == "url":
            self._remote()
        self._terms()
        for key in sorted(self.members.keys() - self.seen - _SILENT):
            if key in _TRUST:
                self.findings.note(f"{key} is not taken over: here a person approves tools")
            else:
                self.findings.note(f"{key} was not taken over: nothing here corresponds to it")

    def take(self, *keys: str) -> Any:
        """The first of *keys* that is there; all count as understood."""
        self.seen.update(keys)
        return next((self.members[key] for key in keys if self.members.get(key) is not None), None)

    # -- how it is reached ----------------------------------------------------------------------

    def _way(self) -> str:
        kind = str(self.members.get("type") or self.members.get("transport") or "").lower()
        remote = self.members.get("httpUrl") or self.members.get("url")
        if (self.members.get("command") is None) == (remote is None):
            self.findings.refuse("it has neither a command nor a URL, or both")
            return ""
        if remote is None:
            return "command" if kind in ("", "stdio", "local") else self._unsupported(kind)
        if kind and kind not in _HTTP | {"sse"}:
            return self._unsupported(kind)
        return "url"

    def _unsupported(self, kind: str) -> str:
        self.findings.refuse(f"its transport {kind!a:.20} is not one that the gateway speaks")
        return ""

    def _process(self) -> None:
        program, args = self.take("command"), self.take("args")
        words = [program, *args] if isinstance(args, list) else [program]
        if not all(isinstance(word, str) for word in words) or not isinstance(args, list | None):
            self.findings.refuse("its command or its arguments are not texts")
            return
        found = secret_argument(words)
        if found >= 0:
            self.findings.refuse(
                f"word {found + 1} of its command looks like a secret, and commands are stored and"
                " shown; add it by hand, with the secret in --env"
            )
            return
        spoken = [
            self.dialect.word(word, self.findings, f"word {place} of its command")
            for place, word in enumerate(words, 1)
        ]
        self.table["command"] = spoken
        self._remark(spoken)
        self._folder(spoken)
        self._environment()

    def _remark(self, words: list[str]) -> None:
        shell = PurePath(words[0].replace("\\", "/")).name.lower()
        if shell in _SHELLS:
            self.findings.note(f"it starts a shell ({shell}): read what it is told to do")
        elif any(_META.search(word) for word in words) or " " in words[0]:
            self.findings.note(
                "signs of a shell in its command are plain text: no shell reads them"
            )

    def _folder(self, words: list[str]) -> None:
        folder = self.take("cwd")
        ground = self.dialect.ground
        if isinstance(folder, str):
            said = self.dialect.word(folder, self.findings, "cwd")
            said = str(ground.home / said[2:]) if said.startswith("~/") else said
            if ground.project is None and not PurePath(said).is_absolute():
                self.findings.refuse("its cwd is relative, and nothing says to what")
            self.table["cwd"] = str((ground.project or ground.home) / said)
        elif any(_RELATIVE.fullmatch(word) for word in words):
            if ground.project is None:
                self.findings.note("a path in its command is relative; say where with --cwd")
            else:
                self.table["cwd"] = str(ground.project)

    def _environment(self) -> None:
        given, forwarded = self.take("env"), self.take("env_vars")
        if not isinstance(given, dict | None):
            self.findings.refuse("its env is not a table")
        env: dict[str, str] = {}
        for key, value in given.items() if isinstance(given, dict) else ():
            text = str(value).lower() if isinstance(value, bool) else str(value)
            env[str(key)] = self.dialect.setting(str(key), text, self.findings)
        for item in forwarded if isinstance(forwarded, list) else ():
            key = str(item.get("name") if isinstance(item, dict) else item)
            env[key] = self.dialect.setting(key, f"${{{key}}}", self.findings)
        if env:
            self.table["env"] = env
        if self.take("envFile") is not None:
            self.findings.note("its envFile is not read; give what it holds with --env")

    def _remote(self) -> None:
        streamable = self.take("httpUrl")
        url = streamable or self.take("url")
        kind = str(self.members.get("type") or self.members.get("transport") or "").lower()
        if not isinstance(url, str):
            self.findings.refuse("its URL is not a text")
            return
        sse = kind == "sse" or (self.url_is_sse and not streamable and not kind)
        if sse:
            self.findings.note("it speaks HTTP+SSE, the transport of 2024")
        spoken = self.dialect.word(url, self.findings, "its URL")
        if not is_plain_url(spoken):
            self.findings.refuse(
                "a part of its URL looks like a secret, and URLs are stored; give it as a token"
                " with --auth if the server takes one"
            )
            return
        self.table["url"] = spoken
        self._credential()

    def _credential(self) -> None:
        for key in ("headersHelper", "auth_command"):
            if self.take(key) is not None:
                self.findings.refuse(
                    f"{key} is a command that prints a credential; it is never run"
                )
        if self.take("oauth", "auth", "scopes", "oauth_resource") is not None:
            self.findings.note(
                "its client logs in by OAuth; here it needs a token: --auth env:NAME"
            )
        variable = self.take("bearer_token_env_var")
        if isinstance(variable, str):
            self._token_from(Variable(variable[:60]))
        if self.members.get("bearer_token") is not None:
            self._literal_token()
        for header, value in self._headers():
            self._header(header, value)

    def _headers(self) -> Iterator[tuple[str, str]]:
        for key in ("headers", "http_headers"):
            found = self.take(key)
            for header, value in found.items() if isinstance(found, dict) else ():
                yield str(header), str(value)
        found = self.take("env_http_headers")
        for header, variable in found.items() if isinstance(found, dict) else ():
            yield str(header), f"${{{variable}}}"

    def _header(self, header: str, value: str) -> None:
        if header.lower() in _USUAL_HEADERS:
            return
        if header.lower() != "authorization":
            self.findings.refuse(
                f"it is sent the header {header!a:.40}, and the gateway sends a bearer token only"
            )
            return
        scheme, _, token = value.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            self.findings.refuse("its Authorization is not a bearer token")
            return
        match self.dialect.parts(token.strip()):
            case [Variable(known=True) as one]:
                self._token_from(one)
            case _:
                self._literal_token()

    def _token_from(self, one: Variable) -> None:
        self.table["auth"] = self.dialect.referred("its token", one, self.findings)

    def _literal_token(self) -> None:
        name = self.dialect.variable_for("TOKEN")
        self.table["auth"] = f"env:{name}"
        self.findings.note(f"its token was not taken over; set {name} for the gateway")

    # -- on what terms --------------------------------------------------------------------------

    def _terms(self) -> None:
        taken = self.take("enabled_tools", "includeTools")
        if isinstance(taken, list) and all(isinstance(tool, str) for tool in taken):
            # "tool(args)" is how one client narrows further; a name has no bracket.
            self.table["tools"] = [tool.partition("(")[0] for tool in taken] or ["-"]
        refused = self.take("disabled_tools", "excludeTools")
        if isinstance(refused, list) and refused:
            named = ", ".join(str(tool) for tool in refused[:10])
            self.findings.note(f"its client hides these tools, do not approve them: {named}")
        for key, unit_s in (("tool_timeout_sec", 1.0), ("timeout", 0.001)):
            given = self.take(key)
            if type(given) in (int, float) and 0 < given < 10**9:
                limit_s = min(max(given * unit_s, 0.1), 3600.0)
                self.table["timeout_s"] = round(float(limit_s), 3)
        self.take("startup_timeout_sec", "startup_timeout_ms")
        if self.members.get("disabled") is True or self.members.get("enabled") is False:
            self.findings.hold("its client has it switched off")


def entry_candidate(
    called: str, members: Any, ground: Ground, *, gemini: bool = False
) -> Candidate:
    """One entry of a client's configuration."""
    if not isinstance(members, dict):
        return Candidate(called, fit_name(called), left_out="its entry is not a table")
    dialect = Dialect(fit_name(called) or "server", ground, bare_dollar=gemini)
    return Entry(called, members, dialect, url_is_sse=gemini).candidate()


def finished(
    called: str, name: str, table: Mapping[str, Any], findings: Findings, ground: Ground
) -> Candidate:
    """The candidate, when its table can be read like one of customhouse.toml; else why not."""
    notes = tuple(findings.notes)
    if findings.refused:
        return Candidate(called, name, left_out=findings.refused[0])
    try:
        server_from(name or "server", table, ground.project or ground.home)
    except ConfigError as err:
        key = err.where.rpartition(".")[2]
        return Candidate(called, name, left_out=f"{key}: {err.what}")
    return Candidate(called, name, table, notes, findings.held[0] if findings.held else "")

"""Issuers of tokens in a child process, whose keys the test holds: it can sign what no issuer would."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from joserfc.jwk import JWKRegistry, Key, KeyParameters

from tests.journey.process import ROOT
from tests.servers.issuer import signed


def new_key(key_id: str, kind: str = "EC") -> Key:
    parameters: KeyParameters = {"kid": key_id, "use": "sig"}
    if kind == "RSA":
        return JWKRegistry.generate_key("RSA", 2048, parameters)
    return JWKRegistry.generate_key(kind, "P-256" if kind == "EC" else "Ed25519", parameters)


class Issuer:
    """One of them: its identifier, its keys, and what it answers."""

    def __init__(self, folder: Path, name: str, base: str, *keys: Key, **state: Any) -> None:
        self.name = name
        self.url = f"{base}/{name}"
        self.keys = keys
        self._file, self._log = folder / f"{name}.json", folder / f"{name}.log"
        self._state = state
        self.say()

    def say(self, **state: Any) -> None:
        """Answer so from now on."""
        self._state |= state
        keys = [key.as_dict(private=True) for key in self.keys]
        # Whole at once: it may be read while it is written.
        fresh = self._file.with_suffix(".new")
        fresh.write_text(json.dumps({**self._state, "keys": keys}))
        fresh.replace(self._file)

    def rotate(self, *keys: Key) -> None:
        self.keys = keys
        self.say()

    @property
    def asked(self) -> int:
        """How often its keys were fetched."""
        return len(self._log.read_text().splitlines()) if self._log.exists() else 0

    def claims(self, audience: str, **claims: Any) -> dict[str, Any]:
        now_s = int(time.time())  # noqa: TID251 - as an issuer does
        said = {
            "iss": self.url,
            "sub": "alice",
            "aud": audience,
            "client_id": "desk",
            "iat": now_s,
            "exp": now_s + 300,
        }
        return {name: value for name, value in {**said, **claims}.items() if value is not None}

    def token(self, audience: str, **claims: Any) -> str:
        return signed(self.claims(audience, **claims), self.keys[0])


@contextmanager
def issuers(folder: Path) -> Iterator[str]:
    """Serve the issuers of *folder*; where they are."""
    folder.mkdir(exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.servers.issuer", str(folder)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        port = process.stdout.readline().decode().strip()
        assert port, "the issuers did not start"
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.communicate(timeout=10)

"""Who calls in the tests of the edge, and who knows them."""

from __future__ import annotations

from gateway.domain.model import Principal

NOW_US = 1_795_348_800_000_000
ALICE = Principal("default", "alice", credential="key-alice")
BOB = Principal("default", "bob", credential="key-bob")
KEYS = {
    "alice-key": ALICE,
    "bob-key": BOB,
    "alice-other-key": Principal("default", "alice", credential="key-alice-2"),
}


class FakeIdentity:
    def __init__(self) -> None:
        self.revoked: set[str] = set()

    def authenticate(self, token: str, now_us: int) -> Principal | None:
        principal = KEYS.get(token)
        if principal is None or principal.credential in self.revoked:
            return None
        return principal

    def is_live(self, principal: Principal, now_us: int) -> bool:
        return principal.credential not in self.revoked

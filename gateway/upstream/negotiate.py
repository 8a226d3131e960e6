"""Which era a child speaks: one server/discover, and initialize when that is not understood.

Whatever is no positive evidence of 2026-07-28 means the handshake: old servers answer an unknown
first request with all kinds of errors, with silence, or by ending.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from gateway.domain import refusal
from gateway.domain.model import MODERN_VERSION, Outcome, Status
from gateway.upstream.envelope import LEGACY_VERSION, LEGACY_VERSIONS, notification
from gateway.upstream.listing import Ask, Introduction, read_introduction
from gateway.upstream.message import UpstreamFailed, broken, error_code
from gateway.upstream.own import OWN_CLIENT
from gateway.upstream.session import Era, Session

UNSUPPORTED_VERSION = -32022


class _Versions(msgspec.Struct):
    supported: list[str] = msgspec.field(name="supportedVersions")


class _Initialized(msgspec.Struct):
    version: str = msgspec.field(name="protocolVersion")


async def greet(session: Session, ask: Ask, known: Era | None) -> Introduction:
    """Open the conversation; afterwards `session.era` is right. *known*: what its last life spoke.

    Raises: UpstreamFailed: there is no revision in common, or the child gave up.
    """
    if known is not Era.LEGACY:
        introduction = await _discover(session, ask)
        if introduction is not None:
            return introduction
    return await _initialize(session, ask, known)


async def _discover(session: Session, ask: Ask) -> Introduction | None:
    """The server's introduction, or None when it does not speak the modern era."""
    session.era = Era.MODERN
    try:
        outcome = await ask("server/discover", {})
    except UpstreamFailed as err:
        if err.code in {refusal.UPSTREAM_TIMEOUT.id, refusal.UPSTREAM_BROKEN.id}:
            return None
        raise
    if outcome.status is Status.RPC_ERROR or not offers_modern(outcome.result):
        return None
    return read_introduction(MODERN_VERSION, outcome.result)


def offers_modern(result: bytes) -> bool:
    try:
        versions = msgspec.json.decode(result, type=_Versions)
    except msgspec.MsgspecError:
        return False
    return MODERN_VERSION in versions.supported


async def _initialize(session: Session, ask: Ask, known: Era | None) -> Introduction:
    session.era = Era.LEGACY
    outcome = await ask("initialize", opening(session.offer))
    if outcome.status is Status.RPC_ERROR:
        return await _refused(session, ask, outcome, known)
    introduction = read_initialized(outcome.result)
    session.tell(notification("notifications/initialized", {}))
    return introduction


def opening(offer: bytes | None) -> Mapping[str, bytes]:
    """The params of initialize. *offer*: None where callers share the session, see session.py."""
    return {
        "protocolVersion": msgspec.json.encode(LEGACY_VERSION),
        "capabilities": OWN_CLIENT.capabilities if offer is None else offer,
        "clientInfo": OWN_CLIENT.info,
    }


def read_initialized(result: bytes) -> Introduction:
    """What initialize is answered with. Raises: UpstreamFailed: it is nothing to go on with."""
    try:
        version = msgspec.json.decode(result, type=_Initialized).version
    except msgspec.MsgspecError as err:
        raise broken(f"initialize is answered with something else: {err}") from None
    if version not in LEGACY_VERSIONS:
        raise broken("initialize is answered with a protocol revision that is not known")
    return read_introduction(version, result)


async def _refused(session: Session, ask: Ask, outcome: Outcome, known: Era | None) -> Introduction:
    code = error_code(outcome.error)
    if code == UNSUPPORTED_VERSION or known is Era.LEGACY:
        # A slow modern server: our first question expired, and yet it set the era. Or one that
        # was not asked at all, because its caller is of the older era.
        introduction = await _discover(session, ask)
        if introduction is not None:
            return introduction
    raise broken(f"initialize is answered with error {code}")

"""Handing over to a new key: of the log, of payloads, of sealed rounds, or of tokens."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from gateway.app.house import House
from gateway.app.operations.args import Args
from gateway.app.operations.entering import to_the_end
from gateway.audit import entry as entries
from gateway.audit import rotation
from gateway.audit.checkpoint import Signer
from gateway.domain.operator import usage
from gateway.domain.revocation import LONGEST_TOKEN_S
from gateway.store import keyring, keys
from gateway.store.changes import put_change
from gateway.store.conclusion import RECOVERY_WAIT_S
from gateway.store.engine import reading
from gateway.store.ledger import LogUnavailable
from gateway.store.writer import Sealing, WriteFailed

FILES = {
    "log": keys.LOG_KEY,
    "payload": keys.PAYLOAD_KEY,
    "state": keys.STATE_KEY,
    "token": keys.TOKEN_KEY,
}


async def rotate(house: House, author: str, given: Mapping[str, Any]) -> Any:
    """Replace a `key`: log, payload, state or token. What was made with the old one stays valid.

    But for `state`: calls that are waiting for input have to begin anew.
    """
    args = Args(given, "key", "reason")
    which, note = args.text("key"), args.text("reason", "")
    if which not in FILES:
        raise usage(f"there is no key {which!a:.40}", f"known are: {', '.join(FILES)}")
    name, folder = FILES[which], house.house_keys.folder
    answer: dict[str, Any] = {"key": which}

    async def entered() -> None:
        await _settle(house)
        old = await asyncio.to_thread((folder / name).read_bytes)
        if which == "token":
            now_s = house.ledger.log.stamp() // 1_000_000
            await asyncio.to_thread(
                keyring.retire_token_key, folder, now_s, now_s + LONGEST_TOKEN_S
            )
        content = await asyncio.to_thread(keyring.begin, folder, name)
        ids = keyring.key_id(name, content), keyring.key_id(name, old)
        if house.ledger.log.closed:
            await asyncio.to_thread(keyring.discard, folder, name)
            raise LogUnavailable("the log is closed: the key was not rotated")
        put = _put_log if which == "log" else _put_secret
        await _durable(house, name, put(house, (author, note, which), ids, content))
        await asyncio.to_thread(keyring.promote, folder, name)
        await _use(house)
        answer.update({"id": ids[0], "prior": ids[1]})

    await to_the_end(entered())
    if which == "log":
        answer["vkey"] = str(house.signer.vkey)
    return answer


Who = tuple[str, str, str]  # author, note, which key
Ids = tuple[str, str]  # of the new key, of the old one


def _put_log(house: House, who: Who, ids: Ids, content: bytes) -> asyncio.Future[None]:
    """In one step: what both keys sign names the leaf that the entry will have."""
    key, old = keys.signing_key(content), house.signer.vkey
    signer = Signer(key, house.signer.origin)
    stated = rotation.statement(house.ledger.log.next_leaf, old, signer.vkey)
    signatures = rotation.sign(house.house_keys.signing, stated), rotation.sign(key, stated)
    handed_over = entries.Rotation(old=str(old), next=str(signer.vkey), signatures=signatures)
    return _put(house, who, ids, Sealing(signer=signer), handed_over)


def _put_secret(house: House, who: Who, ids: Ids, content: bytes) -> asyncio.Future[None]:
    sealing = Sealing(payload_key=content) if who[2] == "payload" else None
    return _put(house, who, ids, sealing)


def _put(
    house: House,
    who: Who,
    ids: Ids,
    sealing: Sealing | None,
    handed_over: entries.Rotation | None = None,
) -> asyncio.Future[None]:
    author, note, which = who
    return put_change(
        house.ledger.log,
        house.ledger.pseudonyms,
        keyring.ROTATED,
        author,
        subject=f"keys/{which}",
        digest=ids[0],
        prior=ids[1],
        note=note,
        rotation=handed_over,
        sealing=sealing,
    )


async def _durable(house: House, name: str, written: asyncio.Future[None]) -> None:
    """Raises: LogUnavailable: the old key is in use."""
    try:
        await written
    except WriteFailed as err:
        with suppress(TimeoutError):
            async with asyncio.timeout(RECOVERY_WAIT_S):
                await house.ledger.recovered.wait()
        # The failed commit may have reached the disk after all. While nobody can tell, the next
        # key stays where it is: the next rotation, or the next start, finds out.
        if house.ledger.log.closed or name not in await _settle(house):
            raise LogUnavailable("the rotation was not written: the old key is in use") from err


async def _settle(house: House) -> list[str]:
    """End a rotation that was cut short before, as the log has it; the keys that came in force."""

    def settled() -> list[str]:
        with reading(house.database) as connection:
            return keyring.settle(house.house_keys.folder, connection, house.signer.origin)

    promoted = await asyncio.to_thread(settled)
    if promoted:
        await _use(house)
    return promoted


async def _use(house: House) -> None:
    """Take the keys as they lie in the folder now into use, where that is not the writer's affair."""
    folder, before = house.house_keys.folder, house.house_keys
    house.house_keys = await asyncio.to_thread(keys.load_or_create, folder, False)
    house.signer = Signer(house.house_keys.signing, house.signer.origin)
    await asyncio.to_thread(keys.write_vkey, folder, str(house.signer.vkey))
    if house.house_keys.state != before.state:
        house.reseal(house.house_keys.state)
        house.call_signer.rekey(house.house_keys.state)
    token_key = await asyncio.to_thread(keys.token_key, folder, was_used=True)
    if token_key.private_bytes_raw() != house.token_key.private_bytes_raw():
        house.token_key = token_key
        house.resign()
    with suppress(WriteFailed, OSError):  # else it is published within the second
        await house.publisher.publish()

"""Proofs of many entries at once are the proofs of each."""

from __future__ import annotations

import pytest

from gateway.audit.merkle import Frontier, leaf_hash
from gateway.audit.proof import NotProvable, prove, verify_proof
from gateway.audit.prover import BLOCK, Prover
from tests.audit.logbook import SIGNER, Logbook, ordinary_log


def log_of(size: int) -> tuple[list[bytes], bytes]:
    bodies = [b"entry %d" % number for number in range(size)]
    tree = Frontier()
    for body in bodies:
        tree.append(leaf_hash(body))
    return bodies, SIGNER.sign(size, tree.root())


@pytest.mark.parametrize("size", [1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 5 * BLOCK + 77])
def test_each_entry_of_a_log_of_any_size_is_proved(size: int) -> None:
    bodies, note = log_of(size)
    prover = Prover(lambda low, high: bodies[low:high], note)
    for index in {0, 1, size // 2, size - 2, size - 1, *range(0, size, 97)} & set(range(size)):
        proof = verify_proof(prover.prove(index, bodies[index]), SIGNER.vkey)
        assert (proof.index, proof.body) == (index, bodies[index])


def test_it_is_the_proof_that_a_single_one_would_be() -> None:
    book = ordinary_log()
    note = book.note()
    prover = Prover(lambda low, high: [row[4] for row in book.rows[low:high]], note)
    rows = [(i, at, kind.encode(), call.encode(), body) for i, at, kind, call, body in book.rows]
    assert prover.prove(17, book.rows[17][4]) == prove(rows, 17, note)


def test_the_log_is_read_once_and_then_only_where_it_is_looked_at() -> None:
    bodies, note = log_of(6 * BLOCK)
    read: list[int] = []

    def counted(low: int, high: int) -> list[bytes]:
        read.append(high - low)
        return bodies[low:high]

    prover = Prover(counted, note)
    assert sum(read) == 6 * BLOCK
    for index in range(BLOCK, 2 * BLOCK):
        prover.prove(index, bodies[index])
    assert sum(read) == 7 * BLOCK


def altered(bodies: list[bytes]) -> list[bytes]:
    return [*bodies[:3], b"another", *bodies[4:]]


def shortened(bodies: list[bytes]) -> list[bytes]:
    return bodies[:-1]


@pytest.mark.parametrize("tamper", [altered, shortened])
def test_entries_that_were_not_signed_prove_nothing(tamper: object) -> None:
    bodies, note = log_of(300)
    others = tamper(bodies)  # type: ignore[operator]  # one of the two above
    with pytest.raises(NotProvable):
        Prover(lambda low, high: others[low:high], note)


def test_only_what_is_there_is_proved() -> None:
    bodies, note = log_of(10)
    prover = Prover(lambda low, high: bodies[low:high], note)
    for index, body in ((10, b"entry 10"), (-1, b"entry 9"), (3, b"entry 4")):
        with pytest.raises(NotProvable):
            prover.prove(index, body)


def test_a_log_without_entries_has_a_checkpoint_and_nothing_to_prove() -> None:
    prover = Prover(lambda _low, _high: [], Logbook().note())
    with pytest.raises(NotProvable):
        prover.prove(0, b"")

"""The tree: published vectors, and every proof of every small tree against a naive one."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit.merkle import (
    BadFrontier,
    Frontier,
    inclusion_ranges,
    leaf_hash,
    tree_hash,
    verify_inclusion,
)

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parent.parent / "vectors" / "rfc6962.json").read_text()
)
PUBLISHED = [leaf_hash(bytes.fromhex(leaf)) for leaf in VECTORS["leaves"]]
MANY = 70
LEAVES = [leaf_hash(b"%d" % i) for i in range(MANY)]
OTHER = leaf_hash(b"something else")


def naive_root(leaves: list[bytes]) -> bytes:
    """RFC 6962 s2.1, word for word."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return sha256(b"\x01" + naive_root(leaves[:split]) + naive_root(leaves[split:])).digest()


def inclusion_proof(leaves: list[bytes], index: int, size: int) -> list[bytes]:
    return [tree_hash(leaves[low:high]) for low, high in inclusion_ranges(index, size)]


ROOTS = [naive_root(LEAVES[:size]) for size in range(MANY + 1)]


@pytest.mark.parametrize("size", range(len(PUBLISHED) + 1))
def test_the_published_trees_have_their_published_roots(size: int) -> None:
    assert tree_hash(PUBLISHED[:size]).hex() == VECTORS["roots"][size]


@pytest.mark.parametrize("vector", VECTORS["inclusion"])
def test_published_inclusion_proofs_are_made_and_accepted(vector: dict[str, Any]) -> None:
    index, size = vector["index"], vector["size"]
    proof = inclusion_proof(PUBLISHED, index, size)
    assert [node.hex() for node in proof] == vector["proof"]
    root = bytes.fromhex(VECTORS["roots"][size])
    assert verify_inclusion(PUBLISHED[index], index, size, proof, root)


def test_a_growing_frontier_has_the_root_of_every_tree_on_its_way() -> None:
    frontier = Frontier()
    for size in range(MANY + 1):
        assert (frontier.size, frontier.root()) == (size, ROOTS[size])
        if size < MANY:
            frontier.append(LEAVES[size])


@pytest.mark.parametrize("size", range(MANY))
def test_a_stored_frontier_goes_on_where_it_stopped(size: int) -> None:
    frontier = Frontier()
    for leaf in LEAVES[:size]:
        frontier.append(leaf)
    stored = frontier.to_bytes()
    loaded = Frontier.from_bytes(stored)
    for leaf in LEAVES[size:]:
        loaded.append(leaf)
    assert loaded.root() == ROOTS[MANY]
    assert frontier.to_bytes() == stored


def test_a_copied_frontier_grows_apart_from_the_first() -> None:
    first = Frontier()
    first.append(LEAVES[0])
    second = first.copy()
    second.append(LEAVES[1])
    assert (first.size, first.root()) == (1, ROOTS[1])
    assert (second.size, second.root()) == (2, ROOTS[2])


@pytest.mark.parametrize(
    "stored",
    [
        pytest.param(b"", id="nothing at all"),
        pytest.param(b"\0" * 7, id="half a size"),
        pytest.param((3).to_bytes(8, "big") + b"x" * 32, id="a peak too few"),
        pytest.param((4).to_bytes(8, "big") + b"x" * 64, id="a peak too many"),
        pytest.param((1).to_bytes(8, "big") + b"x" * 31, id="a peak cut short"),
    ],
)
def test_bytes_that_are_no_frontier_are_refused(stored: bytes) -> None:
    with pytest.raises(BadFrontier):
        Frontier.from_bytes(stored)


def test_every_leaf_of_every_tree_is_proved_and_nothing_else_passes_for_it() -> None:
    for size in range(1, MANY + 1):
        for index in range(size):
            proof = inclusion_proof(LEAVES, index, size)
            leaf, root = LEAVES[index], ROOTS[size]
            assert verify_inclusion(leaf, index, size, proof, root)
            assert not verify_inclusion(OTHER, index, size, proof, root)
            assert not verify_inclusion(leaf, index, size, proof, OTHER)
            assert not verify_inclusion(leaf, index, size, [*proof, OTHER], root)
            assert not verify_inclusion(leaf, index, size, [OTHER, *proof], root)
            if proof:
                assert not verify_inclusion(leaf, index, size, proof[:-1], root)
                assert not verify_inclusion(leaf, index, size, proof[1:], root)
            if size > 1:
                assert not verify_inclusion(leaf, (index + 1) % size, size, proof, root)


@given(st.data())
def test_a_proof_with_one_node_replaced_proves_nothing(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, MANY))
    index = data.draw(st.integers(0, size - 1))
    included = inclusion_proof(LEAVES, index, size)
    included[data.draw(st.integers(0, len(included) - 1))] = OTHER
    assert not verify_inclusion(LEAVES[index], index, size, included, ROOTS[size])


@pytest.mark.parametrize(("index", "size"), [(-1, 5), (5, 5), (1, 1), (0, 0)])
def test_a_leaf_outside_the_tree_has_no_proof(index: int, size: int) -> None:
    assert not verify_inclusion(LEAVES[0], index, size, [], LEAVES[0])
    with pytest.raises(ValueError, match="no leaf"):
        inclusion_ranges(index, size)


def test_a_leaf_that_looks_like_a_node_is_no_node() -> None:
    # RFC 6962 s2.1: without the prefixes, the two children could be passed off as one entry.
    children = ROOTS[1] + LEAVES[1]
    assert leaf_hash(children) != ROOTS[2]

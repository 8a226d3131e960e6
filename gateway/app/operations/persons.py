"""Who is a person, where a policy is two persons' work: a user of the socket, or of an issuer.

    uid:1000 alice     whoever the kernel says is user 1000; the name may change
    agent:corp/alice   the subject alice of a token of issuer corp, over the API
    agent:clerk        an API key: it says which agent, and not who holds it. No person

Two subjects that look alike are one person, whichever issuers say so: nobody becomes a second one
by an account at another issuer, or by a name that differs in case or in the script of a letter.
Whether user 1000 is alice nobody here can tell.
"""

from __future__ import annotations

from gateway.domain.names import likenesses

_SOCKET, _API = "uid:", "agent:"


def is_person(author: str) -> bool:
    """Names of agents have no slash; those that tokens prove begin with their issuer's."""
    return author.startswith(_SOCKET) or (author.startswith(_API) and "/" in author)


def person(author: str) -> str:
    """`uid:1000` of `uid:1000 alice`: names of users can be changed, and given twice."""
    return author.partition(" ")[0] if author.startswith(_SOCKET) else author


def are_two(one: str, other: str) -> bool:
    """Whether both authors are persons, and can be told apart."""
    if not (is_person(one) and is_person(other)):
        return False
    if one.startswith(_API) and other.startswith(_API):
        return _alike(one).isdisjoint(_alike(other))
    return person(one) != person(other)


def are_told_apart(one: str, other: str) -> bool:
    """Whether the two authors are not one and the same, as far as names can say.

    Of approvals: there an agent with a key may be one of them. `agent:alice` and `agent:corp/alice`
    are one; that two agents are held by one person, nobody here can tell.
    """
    if one.startswith(_API) and other.startswith(_API):
        return _called(one).isdisjoint(_called(other))
    return person(one) != person(other)


def _called(author: str) -> frozenset[str]:
    name = author.removeprefix(_API)
    return frozenset(likenesses(name.partition("/")[2] or name))


def _alike(author: str) -> frozenset[str]:
    return frozenset(likenesses(author.partition("/")[2]))

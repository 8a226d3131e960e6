"""A thousand functions, as a large catalogue has them: much alike, and a few that stand out."""

from __future__ import annotations

from collections.abc import Callable

_VERBS = ("get", "create", "update", "archive", "export", "rename", "approve", "assign", "copy")
_NOUNS = ("invoice", "customer", "ticket", "order", "branch", "channel", "folder", "report", "role")
__all__ = ["cherries"]


def cherries(basket: str, limit: int = 10) -> str:
    """Says how many cherries lie in a basket."""
    return f"{limit} of {basket}"


def _made(name: str, verb: str, noun: str, number: int) -> Callable[[str, int], str]:
    def one(identifier: str, limit: int = 50) -> str:
        return f"{name} {identifier} {limit}"

    one.__name__ = one.__qualname__ = name
    one.__doc__ = (
        f"{verb.capitalize()}s the {noun} of department {number}, when the workspace it belongs to"
        f" is not archived. Returns the {noun} as it is after that, with who changed it last."
    )
    return one


for _number in range(999):
    _verb, _noun = _VERBS[_number % 9], _NOUNS[_number // 9 % 9]
    _name = f"{_verb}_{_noun}_{_number}"
    globals()[_name] = _made(_name, _verb, _noun, _number)
    __all__.append(_name)

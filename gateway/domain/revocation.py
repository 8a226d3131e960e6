"""Under which ids tokens are revoked: one by its own, or all that somebody has until then.

token:corp/3f2a9c                          the token of issuer corp whose jti is 3f2a9c
tokens:2bd806c97f0e00af1a1fc3328fa763a9    those of one subject, which is not named: what was
                                           revoked stays so when the subject's name is erased.
                                           A digest of a name can be told by trying names: no salt
                                           that is kept beside it would hinder that
tokens:all                                 those of everybody: the log of what was revoked was lost

The gateway's own tokens hang on more than that, and die with any of it:

token:/9c4f0e...                           each token of the chain, by its jti: our own have no issuer
agent:default/worker                       each agent in it: it has to be there, and not disabled
with:k3f2a9c10b7d4                         each key with which one of them was obtained
"""

from __future__ import annotations

from hashlib import sha256

EVERYBODYS = "tokens:all"
OURS = ""  # the name of the gateway itself among the issuers
AGENT, WITH = "agent:", "with:"
LONGEST_TOKEN_S = 86_400  # that the gateway gives out


def one_token(issuer: str, jti: str) -> str:
    return f"token:{issuer}/{jti}"


def all_tokens(subject: str) -> str:
    return f"tokens:{sha256(subject.encode()).hexdigest()[:32]}"


def agent_of(tenant: str, name: str) -> str:
    return f"{AGENT}{tenant}/{name}"


def obtained_with(key_id: str) -> str:
    return f"{WITH}{key_id}"

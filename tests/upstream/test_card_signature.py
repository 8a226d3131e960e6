"""A card signed by a pinned key, as the official SDK signs it; and everything that is none."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from a2a.server.request_handlers.response_helpers import agent_card_to_dict
from a2a.types import AgentInterface
from a2a.utils.signing import create_agent_card_signer, create_signature_verifier
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from google.protobuf.json_format import ParseDict  # type: ignore[import-untyped] # a stub package
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from gateway.domain.card import BadCard, read_card, signing_payload
from gateway.upstream.card_signature import check_signed
from gateway.upstream.message import UpstreamFailed
from gateway.upstream.spec import HttpTransport, PeerTransport, ServerSpec
from tests.fakes import border
from tests.servers.agent import Agent, card, serving

Private = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
KEYS: dict[str, tuple[Private, Callable[..., Any]]] = {
    "ES256": (ec.generate_private_key(ec.SECP256R1()), ECAlgorithm.to_jwk),
    "EdDSA": (ed25519.Ed25519PrivateKey.generate(), OKPAlgorithm.to_jwk),
    "RS256": (rsa.generate_private_key(65_537, 2_048), RSAAlgorithm.to_jwk),
}


def pem(private: Private) -> bytes:
    return private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def jwk(algorithm: str, kid: str = "key-1") -> dict[str, Any]:
    private, as_jwk = KEYS[algorithm]
    return {**json.loads(as_jwk(private.public_key())), "kid": kid}


def key_set(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": list(keys)}).encode()


def signed(algorithm: str, url: str = "https://a.example", **head: Any) -> dict[str, Any]:
    """A card as the SDK signs and serves it, with the members of the older protocol beside."""
    described = card(url)
    older = AgentInterface(url=url, protocol_binding="JSONRPC", protocol_version="0.3")
    described.supported_interfaces.append(older)
    protected: Any = {"kid": "key-1", "alg": algorithm, "jku": None, "typ": "JOSE", **head}
    sign = create_agent_card_signer(pem(KEYS[algorithm][0]), protected)
    served: dict[str, Any] = agent_card_to_dict(sign(described))
    return served


def check(served: dict[str, Any], *keys: dict[str, Any]) -> None:
    check_signed(read_card(json.dumps(served).encode()), key_set(*keys))


@pytest.mark.parametrize("algorithm", KEYS)
def test_what_the_sdk_signed_is_signed(algorithm: str) -> None:
    served = signed(algorithm)
    assert "url" in served  # of the older protocol: not signed, and not read
    check(served, jwk(algorithm))


def test_one_good_signature_among_several_is_enough() -> None:
    served = signed("ES256")
    served["signatures"].insert(0, {"protected": "e30", "signature": "AAAA"})
    check(served, jwk("EdDSA", "other"), jwk("ES256"))
    del served["signatures"][1]
    with pytest.raises(BadCard, match="none of its signatures"):
        check(served, jwk("EdDSA", "other"), jwk("ES256"))


def test_a_card_that_we_would_sign_is_what_the_sdk_verifies() -> None:
    members = dict(read_card(json.dumps(signed("EdDSA")).encode()).members)
    private = KEYS["EdDSA"][0]
    assert isinstance(private, ed25519.Ed25519PrivateKey)
    from base64 import urlsafe_b64encode

    def encoded(raw: bytes) -> str:
        return urlsafe_b64encode(raw).rstrip(b"=").decode()

    head = encoded(b'{"alg":"EdDSA","kid":"key-1"}')
    signature = private.sign(f"{head}.{encoded(signing_payload(members))}".encode())
    members["signatures"] = [{"protected": head, "signature": encoded(signature)}]
    from a2a.types import AgentCard

    verify = create_signature_verifier(lambda kid, jku: private.public_key(), ["EdDSA"])  # type: ignore[arg-type,return-value] # PyJWT takes it
    verify(ParseDict(members, AgentCard()))


@pytest.mark.parametrize("algorithm", KEYS)
def test_a_card_that_was_changed_after_it_was_signed(algorithm: str) -> None:
    served = signed(algorithm)
    served["supportedInterfaces"][0]["url"] = "https://thief.example/rpc"
    with pytest.raises(BadCard, match="none of its signatures"):
        check(served, jwk(algorithm))


@pytest.mark.parametrize(
    ("keys", "head", "why"),
    [
        ([jwk("EdDSA")], {}, "none of its signatures"),
        ([jwk("ES256", "another")], {}, "none of its signatures"),
        ([jwk("ES256")], {"crit": ["exp"]}, "none of its signatures"),
        ([{**jwk("ES256"), "d": "AAAA"}], {}, "no key"),
        ([{**jwk("ES256"), "use": "enc"}], {}, "no key"),
        ([{"kty": "oct", "k": "c2VjcmV0", "kid": "key-1"}], {}, "no key"),
        ([{**jwk("ES256"), "x": "AAAA"}], {}, "no key"),
        ([], {}, "no key"),
    ],
    ids=["sort", "kid", "critical", "private", "encryption", "symmetric", "no-point", "empty"],
)
def test_a_signature_that_proves_nothing(
    keys: list[dict[str, Any]], head: dict[str, Any], why: str
) -> None:
    with pytest.raises(BadCard, match=why):
        check(signed("ES256", **head), *keys)


def test_a_card_without_a_signature_where_one_is_wanted() -> None:
    served = signed("ES256")
    del served["signatures"]
    with pytest.raises(BadCard, match="not signed"):
        check(served, jwk("ES256"))


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_an_agent_is_listed_only_with_a_card_that_a_pinned_key_signed(
    tmp_path: Path,
) -> None:
    pinned = tmp_path / "agent.jwks.json"
    pinned.write_bytes(key_set(jwk("ES256")))
    with serving(Agent()) as agent:
        there = HttpTransport(agent.card_url, allow_private=True)
        async with border(ServerSpec("fake", PeerTransport(there, str(pinned)))) as house:
            with pytest.raises(UpstreamFailed, match="not signed"):
                await house.upstreams.list_definitions("fake")
            agent.served = json.dumps(signed("ES256", agent.url)).encode()
            listing = await house.upstreams.list_definitions("fake")
            assert {one.name for one in listing.definitions} == {"quote", "refund", "echo"}
            agent.served = json.dumps(signed("EdDSA", agent.url)).encode()
            with pytest.raises(UpstreamFailed, match="none of its signatures"):
                await house.upstreams.list_definitions("fake")

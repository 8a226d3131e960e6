"""Where connections may go. The resolver is the attacker's: its answers are judged, once."""

import ipaddress
import socket
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.domain.model import Status
from gateway.upstream.fetch import BadTarget, objection, parse_target
from gateway.upstream.spec import HttpTransport, ServerSpec
from tests.fakes import FakeUpstream, border, http_spec


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/",
        "file:///etc/passwd",
        "host/mcp",
        "http://",
        "http:///mcp",
        "http://user:secret@host/",
        "http://user@host/",
        "http://host@evil/",
        "http://host/#fragment",
        "http://host:99999/",
        "http://host:x/",
        "http://ho st/",
        "http://host/\r\nX: y",
        "http://host\\@evil/",
        "http://h\u00f6st/",
        "http://[::1/",
        "",
    ],
)
def test_a_url_that_is_not_plainly_one_is_refused(url: str) -> None:
    with pytest.raises(BadTarget):
        parse_target(url, allow_private=True, carries_secret=False)


def test_a_url_becomes_a_target() -> None:
    target = parse_target(
        "https://Host.Example:444/a?b=c", allow_private=False, carries_secret=True
    )
    assert (target.host, target.port, target.path, target.tls) == (
        "host.example",
        444,
        "/a?b=c",
        True,
    )
    assert target.host_header == "host.example:444"
    bare = parse_target("http://[::1]", allow_private=True, carries_secret=False)
    assert (bare.host_header, bare.path, bare.port) == ("[::1]", "/", 80)


NEVER = [
    *("169.254.169.254", "169.254.0.1", "fe80::1", "fd00:ec2::254", "100.100.100.200"),
    *("::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1"),
    *("0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255", "240.0.0.1"),  # noqa: S104 - no bind
]
PRIVATE = [
    *("127.0.0.1", "127.9.9.9", "::1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1"),
    *("fc00::1", "fec0::1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::1", "198.18.0.1"),
]
PUBLIC = ["8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::808:808"]


def objects(
    address: str, *, allow_private: bool, url: str = "https://x/", secret: bool = True
) -> str:
    target = parse_target(url, allow_private=allow_private, carries_secret=secret)
    return objection(ipaddress.ip_address(address), target)


@pytest.mark.parametrize("address", NEVER)
def test_some_addresses_are_never_a_server(address: str) -> None:
    assert objects(address, allow_private=True)
    assert objects(address, allow_private=False)


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_need_the_operators_word(address: str) -> None:
    assert objects(address, allow_private=False)
    assert not objects(address, allow_private=True)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_credential_goes_to_public_addresses_under_tls_only(address: str) -> None:
    assert not objects(address, allow_private=False)
    assert objects(address, allow_private=False, url="http://x/")
    assert not objects(address, allow_private=False, url="http://x/", secret=False)


Resolve = Callable[[list[str]], None]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Answers of the DNS for names, in turn; addresses resolve as always."""
    answers: list[list[str]] = []

    def getaddrinfo(host: Any, port: Any, *args: Any, **kwargs: Any) -> list[Any]:
        name = host.decode() if isinstance(host, bytes) else host
        addresses = [name] if name[0].isdigit() else answers.pop(0)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, int(port))) for a in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return answers


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # uvloop resolves inside libuv, out of this file's reach


@pytest.mark.anyio
async def test_a_name_that_resolves_inward_is_refused(resolver: list[list[str]]) -> None:
    resolver.append(["127.0.0.1", "10.0.0.1"])
    async with FakeUpstream() as server:
        transport = HttpTransport(f"http://innocent.example:{server.port}/")
        async with border(ServerSpec("fake", transport)) as house:
            assert (await house.call()).code == "upstream_unreachable"
    assert server.connections == 0


@pytest.mark.anyio
async def test_the_name_is_not_asked_again_between_check_and_connection(
    resolver: list[list[str]],
) -> None:
    resolver += [["127.0.0.1"], ["127.0.0.9"]]
    async with FakeUpstream() as server:
        url = f"http://rebinding.example:{server.port}/"
        async with border(http_spec(url)) as house:
            assert (await house.call()).status is Status.OK
    assert server.asked[0].headers["host"] == f"rebinding.example:{server.port}"
    assert resolver == [["127.0.0.9"]]  # the second answer was never fetched


@pytest.mark.anyio
async def test_forbidden_addresses_of_a_name_are_passed_over(resolver: list[list[str]]) -> None:
    resolver.append(["169.254.169.254", "127.0.0.1"])
    async with FakeUpstream() as server:
        spec = http_spec(f"http://mixed.example:{server.port}/")
        async with border(spec) as house:
            with anyio.fail_after(2):
                assert (await house.call()).status is Status.OK


def certificate(folder: Path, host: str) -> tuple[ssl.SSLContext, str]:
    """A server context for *host* and the path of the certificate that proves it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    began = datetime(2026, 1, 1, tzinfo=UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(began)
        .not_valid_after(began + timedelta(days=36_500))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{host}.pem"
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(made.public_bytes(pem))
    keyed = folder / f"{host}.key"
    keyed.write_bytes(secret)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path, keyed)
    return context, str(path)


@pytest.mark.anyio
async def test_tls_proves_the_name_and_keeps_its_connection(
    resolver: list[list[str]], tmp_path: Path
) -> None:
    tls, ca_file = certificate(tmp_path, "tools.example")
    resolver.append(["127.0.0.1"])
    async with FakeUpstream(tls=tls) as server:
        url = f"https://tools.example:{server.port}/mcp"
        transport = HttpTransport(url, allow_private=True, ca_file=ca_file)
        async with border(ServerSpec("fake", transport)) as house:
            for _ in range(3):
                assert (await house.call()).status is Status.OK
    assert server.connections == 1


@pytest.mark.anyio
@pytest.mark.parametrize("flaw", ["another name", "another authority"])
async def test_a_certificate_that_proves_nothing_ends_the_attempt(
    resolver: list[list[str]], tmp_path: Path, flaw: str
) -> None:
    tls, ca_file = certificate(tmp_path, "tools.example")
    host = "other.example" if flaw == "another name" else "tools.example"
    resolver.append(["127.0.0.1"])
    async with FakeUpstream(tls=tls) as server:
        transport = HttpTransport(
            f"https://{host}:{server.port}/mcp",
            allow_private=True,
            ca_file=ca_file if flaw == "another name" else "",
        )
        async with border(ServerSpec("fake", transport)) as house:
            outcome = await house.call()
    assert outcome.code == "upstream_unreachable"
    assert server.asked == []


@pytest.mark.anyio
async def test_certificates_that_cannot_be_read_make_the_server_unreachable() -> None:
    transport = HttpTransport("https://127.0.0.1:1/", allow_private=True, ca_file="/nowhere.pem")
    async with border(ServerSpec("fake", transport, timeout_s=2.0)) as house:
        with anyio.fail_after(2):
            assert (await house.call()).code == "upstream_unreachable"

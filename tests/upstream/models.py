"""A model behind the border, and calls of it as the edge makes them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from gateway.domain.model import (
    Act,
    Approval,
    Call,
    CallClass,
    Definition,
    Kind,
    ModelTerms,
    Principal,
)
from gateway.upstream.spec import HttpTransport, ModelTransport, ServerSpec

SECRET = "Bearer of-the-provider"
TERMS = ModelTerms("steady", "small", 8_000, 1_000_000, 2_000_000)


def model_spec(url: str, name: str = "fake", **bounds: Any) -> ServerSpec:
    api = HttpTransport(url, auth_header_value=SECRET, allow_private=True)
    return ServerSpec(name, ModelTransport(api, TERMS), **{"timeout_s": 5.0, **bounds})


def model_definition(
    name: str = "fake", *, model: str = "steady", size: str = "small", cache_s: int = 0
) -> Definition:
    terms = ModelTerms(model, size, 8_000, 1_000_000, 2_000_000)
    return Definition(
        name,
        Kind.MODEL,
        name,
        name,
        b'{"name":"fake"}',
        "0" * 64,
        Approval.APPROVED,
        max_result_tokens=100,
        cache_s=cache_s,
        terms=terms,
    )


def model_call(
    api: str = "chat/completions",
    *,
    mode: str = "steady",
    cache_s: int = 0,
    subject: str = "alice",
    trace: str = "",
    **more: Any,
) -> Call:
    """A call of the model `fake`, whose provider knows it as *mode*."""
    given = {"messages": [{"role": "user", "content": "Name a river."}]}
    if api != "chat/completions":
        given = {"input": "Name a river."}  # type: ignore[dict-item]
    bound = {"chat/completions": "max_completion_tokens", "responses": "max_output_tokens"}.get(api)
    arguments = {"model": mode, **given, **({bound: 100} if bound else {}), **more}
    return Call(
        id="01HZX0000000000000000000AA",
        principal=Principal("default", subject),
        method=api,
        kind=Kind.MODEL,
        server="fake",
        name="fake",
        act=Act.CALL,
        weight=CallClass.FULL,
        params={"body": json.dumps(arguments).encode()},
        arguments=arguments,
        definition=model_definition(model=mode, cache_s=cache_s),
        trace=trace,
    )


@dataclass
class Events:
    """A relay that keeps the events it was given."""

    frames: list[bytes] = field(default_factory=list)

    async def notify(self, frame: bytes) -> None:
        assert frame.endswith(b"\n\n")
        assert b"\r" not in frame
        self.frames.append(frame)

    @property
    def text(self) -> str:
        said = [json.loads(frame.partition(b"data: ")[2]) for frame in self.chunks]
        return "".join(c["delta"].get("content") or "" for s in said for c in s["choices"])

    @property
    def chunks(self) -> list[bytes]:
        return [frame for frame in self.frames if b"[DONE]" not in frame]

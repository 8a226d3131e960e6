"""Is it alive, is it ready, how is it doing: the first two say yes or no and nothing else."""

from __future__ import annotations

from http import HTTPStatus

from gateway.domain.model import Act, Call, CallClass, Kind, Principal
from gateway.edge.house import House
from gateway.edge.ids import new_call_id
from gateway.edge.reply import Answer

LIVE, READY, METRICS = "/livez", "/readyz", "/metrics"
METRICS_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
_YES, _NO = Answer(HTTPStatus.OK, b"yes\n"), Answer(HTTPStatus.SERVICE_UNAVAILABLE, b"no\n")


class Health:
    def __init__(self, house: House) -> None:
        self._house = house

    def probe(self, path: str) -> Answer:
        """The answer of /livez and /readyz, which anyone may ask."""
        return _YES if path == LIVE or self._house.is_ready() else _NO

    async def metrics(self, principal: Principal) -> Answer:
        """The figures, for whom policy lets read admin/metrics; the reading is an entry.

        Raises: Refused.
        """
        call = Call(
            id=new_call_id(self._house.clock()),
            principal=principal,
            method="metrics",
            kind=Kind.ADMIN,
            server="",
            name="metrics",
            act=Act.READ,
            weight=CallClass.SINGLE,
        )
        await self._house.pipeline.enter(call)
        return Answer(HTTPStatus.OK, self._house.render_metrics())

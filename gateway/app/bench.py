"""The approvals of a house as its edge sees them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gateway.app.clock import wall_us
from gateway.app.house import House
from gateway.app.operations.approvals import as_row
from gateway.domain.approval import Course, State
from gateway.edge.approvals.elicit import Elicitation
from gateway.edge.approvals.links import Links
from gateway.edge.approvals.page import ApprovalPage, Means
from gateway.edge.house import House as EdgeHouse


class HouseBench:
    def __init__(self, house: House) -> None:
        self._house = house

    def notice(self, approval_id: str) -> Mapping[str, Any] | None:
        course = self._live(approval_id)
        return as_row(self._house, course) if course is not None else None

    def expires_us(self, approval_id: str) -> int:
        course = self._live(approval_id)
        return course.petition.expires_us if course is not None else 0

    async def decided(self, approval_id: str, within_s: float) -> None:
        await self._house.approvals.decided(approval_id, within_s)

    def _live(self, approval_id: str) -> Course | None:
        approvals = self._house.approvals
        course = approvals.find(approval_id)
        if course is None:
            return None
        state = course.state(approvals.holds(course), wall_us())
        return None if state in (State.USED, State.EXPIRED) else course


def with_approvals(edge: EdgeHouse, house: House, address: str) -> EdgeHouse:
    """*edge*, whose callers are told where to ask for approvals, with the page where they are given.

    *address*: where the gateway listens, for links where no public URL is configured.
    """
    if edge.desk is None:
        return edge
    house.approvers.credentials = edge.identity  # of issuers, too, where there are any
    bench, links = HouseBench(house), Links(house.config.public_url or address, edge.state_key)
    means = Means(
        bench=bench,
        links=links,
        desk=edge.desk,
        pipeline=edge.pipeline,
        policies=edge.policies,
        identity=edge.identity,
        renewed=edge.oauth.renewed if edge.oauth is not None else None,
        clock=edge.clock,
    )
    elicitation = Elicitation(bench, links, edge.state_key)
    return replace(edge, elicitation=elicitation, counters=(*edge.counters, ApprovalPage(means)))

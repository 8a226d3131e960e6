"""The peers of a house as its edge serves them to other agents."""

from __future__ import annotations

from dataclasses import replace

from gateway.app.clock import wall_us
from gateway.app.house import House
from gateway.app.wiring import is_plainly_local
from gateway.edge.a2a.calls import Calls
from gateway.edge.a2a.card import Press
from gateway.edge.a2a.counter import PushCounter, Undelivered
from gateway.edge.a2a.outlet import A2a
from gateway.edge.a2a.push import Pushes, Reach, Target
from gateway.edge.a2a.tasks import Tasks
from gateway.edge.house import House as EdgeHouse
from gateway.edge.house import Settings
from gateway.store.peer_tasks import PeerTasks
from gateway.upstream.message import UpstreamFailed
from gateway.upstream.push import deliver, push_objection


def with_peers(edge: EdgeHouse, house: House, settings: Settings, address: str) -> EdgeHouse:
    """*edge*, at which other agents are asked, and tell what becomes of it.

    *address*: where the gateway listens, for its cards where no public URL is configured.
    """
    config = house.config
    if not config.peers:
        return edge
    base = config.public_url.rstrip("/") or address
    # Whoever can ask a gateway that only this machine reaches is on this machine: it may be told
    # here of what an agent does that is here, too.
    is_alone = not config.public_url and not config.allowed_hosts
    local = {name for name, peer in config.peers.items() if is_plainly_local(peer.url)}
    here = frozenset(local) if is_alone else frozenset[str]()
    book = PeerTasks(house.readers, house.ledger, edge.state_key, wall_us)
    tasks = Tasks(book, edge.state_key, wall_us, lambda: edge.policies.current.version)
    reach = Reach(base, lambda peer, url: push_objection(url, here=peer in here))
    pushes = Pushes(tasks, reach)
    calls = Calls(edge, tasks, pushes)

    async def tell(peer: str, target: Target, body: bytes) -> None:
        try:
            await deliver(target.url, target.headers, body, here=peer in here)
        except UpstreamFailed as failed:
            raise Undelivered(failed.code) from failed

    issuers = tuple(issuer.url for issuer in edge.oauth.issuers) if edge.oauth is not None else ()
    press = Press(base, house.call_signer.detached, issuers)
    outlet = A2a(edge, settings, tasks, calls, press)
    counter = PushCounter(edge, settings, tasks, pushes, calls, tell)
    return replace(
        edge,
        outlets=(*edge.outlets, outlet),
        counters=(*edge.counters, counter),
        peer_tasks=tasks,
    )

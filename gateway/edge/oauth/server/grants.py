"""The grants of the token endpoint, on authlib: client credentials, and token exchange.

authlib is synchronous: `answer` runs in a worker thread, and touches nothing but what is handed in
and what other threads may read.
"""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from authlib.oauth2.rfc6749 import AuthorizationServer, OAuth2Request
from authlib.oauth2.rfc6749.grants import BaseGrant, TokenEndpointMixin
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload

from gateway.edge.oauth.own import Own
from gateway.edge.oauth.server import clients, wire
from gateway.edge.oauth.server.assertions import Assertions
from gateway.edge.oauth.server.clients import Agents, Answer, Asking, Claimant
from gateway.edge.oauth.server.narrowing import (
    Client,
    Exchange,
    Fresh,
    Holding,
    for_another,
    for_itself,
    narrower_audience,
)
from gateway.edge.oauth.server.wanted import EVERYTHING, Unfit, malformed, read_wanted
from gateway.edge.oauth.ticket import Ticket

MAX_TOKEN_CHARS = 6_000  # with its header it has to fit into a line of a request
_UNPROVED = "The client is unknown, or did not prove who it is."


@dataclass(frozen=True, slots=True)
class Made:
    """A token that may be given out once it is in the log."""

    ticket: Ticket
    token: str


@dataclass(slots=True)
class Request(Asking):
    """*subject* and *actor*: whom the tokens in the form prove; None: nobody, or there is none."""

    subject: Holding | None = None
    actor: Holding | None = None


@dataclass(frozen=True, slots=True)
class Office:
    """What tokens are made with."""

    own: Own
    agents: Agents
    assertions: Assertions
    most_actors: int  # of one chain; 0: any number
    token_url: str
    others_scopes: frozenset[str]  # of issuers: clients are told of them, and they say nothing here


class Server(AuthorizationServer):  # type: ignore[misc]  # authlib ships no types
    """Made for one request: authlib looks a client up by its name alone."""

    def __init__(self, office: Office, request: Request) -> None:
        super().__init__()
        self.office = office
        self.asking = request
        self.register_client_auth_method(wire.JWT, self._by_assertion)
        self.register_grant(_ClientCredentials)
        self.register_grant(_TokenExchange)

    def answer(self) -> Answer:
        """What is said to the request; its `made` is to be entered in the log before."""
        asking = self.asking
        try:
            clients.check_credentials(asking)
            if asking.authorization and not clients.is_basic(asking.authorization):
                return refused("invalid_client", _UNPROVED)
            status, said, headers = self.create_token_response(asking)
        except Unfit as unfit:
            return refused(unfit.error, unfit.why)
        if said.get("error") == "invalid_client":
            return refused("invalid_client", _UNPROVED)
        return status, said, headers

    def query_client(self, client_id: str) -> Claimant:
        return Claimant(client_id, self.asking, self.office.agents)

    def create_oauth2_request(self, request: Request) -> OAuth2Request:
        return _Heard(request, self.office.token_url)

    def handle_response(self, status: int, body: Any, headers: Any) -> Answer:
        return status, body, headers

    def send_signal(self, *_args: Any, **_more: Any) -> None:
        """Nobody listens."""

    def give(self, ticket: Ticket) -> dict[str, Any]:
        """The answer that gives *ticket* out. Raises: Unfit: it does not fit into a header."""
        own = self.office.own
        token = own.keys.sign(ticket.claims(own.url))
        if len(token) > MAX_TOKEN_CHARS:
            raise Unfit("invalid_scope", "The token would be too long: ask for fewer objects.")
        self.asking.made = Made(ticket, token)
        said = {
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": ticket.ends_s - ticket.issued_s,
            "scope": " ".join(ticket.own.grant.objects) or EVERYTHING,
        }
        return {**said, "run": ticket.run} if ticket.run else said

    def fresh(self) -> Fresh:
        now_s = self.asking.now_us // 1_000_000
        return Fresh(secrets.token_hex(16), f"run-{secrets.token_hex(8)}", now_s)

    def audience(self, resource: str) -> str:
        """What a token for *resource* is for; "" where nothing is said. Raises: Unfit."""
        if not resource:
            return ""
        audience = self.office.own.audience(resource)
        if audience is None:
            raise Unfit(
                "invalid_target", "The resource is neither this gateway nor one of its endpoints."
            )
        return audience

    def _by_assertion(self, _query_client: Any, _request: Any) -> Claimant | None:
        return clients.by_assertion(self.office.assertions, self.office.agents, self.asking)


class _Heard(OAuth2Request):  # type: ignore[misc]  # authlib ships no types
    """What was asked, as authlib reads it."""

    def __init__(self, asking: Request, token_url: str) -> None:
        # Who listens without TLS does so on loopback, or behind a proxy: that was checked elsewhere.
        https = token_url.replace("http://", "https://", 1)
        super().__init__("POST", https, headers={"Authorization": asking.authorization})
        self.payload = BasicOAuth2Payload(asking.form)
        self._form = asking.form

    @property
    def form(self) -> Mapping[str, str]:
        return self._form


class _Grant(BaseGrant, TokenEndpointMixin, ABC):  # type: ignore[misc]  # authlib ships no types
    TOKEN_ENDPOINT_AUTH_METHODS = wire.METHODS

    server: Server

    def validate_token_request(self) -> None:
        self.request.client = self.authenticate_token_endpoint_client()

    def create_token_response(self) -> Answer:
        asking = self.server.asking
        if asking.client is None:  # what authlib accepted, we did
            raise Unfit("invalid_client", _UNPROVED)
        return 200, self._made(asking, asking.client), []

    @abstractmethod
    def _made(self, asking: Request, client: Client) -> dict[str, Any]:
        """What is answered to *client*: a token. Raises: Unfit."""


class _ClientCredentials(_Grant):
    """An agent for itself (RFC 6749 s4.4)."""

    GRANT_TYPE = wire.CLIENT_CREDENTIALS

    def _made(self, asking: Request, client: Client) -> dict[str, Any]:
        wanted = read_wanted(asking.form, self.server.office.others_scopes)
        audience = self.server.audience(wanted.resource) or self.server.office.own.everywhere[0]
        return self.server.give(for_itself(wanted, client, audience, self.server.fresh()))


class _TokenExchange(_Grant):
    """An agent for another, or for whom that acts (RFC 8693)."""

    GRANT_TYPE = wire.EXCHANGE

    def _made(self, asking: Request, client: Client) -> dict[str, Any]:
        form, server = asking.form, self.server
        parent = _shown(form, "subject", asking.subject)
        if parent is None:
            raise malformed("There is no subject_token.")
        kind = form.get("requested_token_type", wire.ACCESS_TOKEN)
        if kind not in (wire.ACCESS_TOKEN, wire.JWT_TOKEN):
            raise malformed("The requested token type is none that the gateway gives out.")
        office = server.office
        wanted = read_wanted(form, office.others_scopes)
        exchange = Exchange(client, parent, _shown(form, "actor", asking.actor), office.most_actors)
        audience = server.audience(wanted.resource)
        for held in (exchange.parent, exchange.actor):
            if held is not None and held.ticket is not None:
                everywhere = office.own.everywhere
                audience = narrower_audience(audience, held.ticket.audience, everywhere)
        ticket = for_another(wanted, exchange, audience or office.own.everywhere[0], server.fresh())
        return {**server.give(ticket), "issued_token_type": kind}


def _shown(form: Mapping[str, str], which: str, held: Holding | None) -> Holding | None:
    """The token in *form* that is called so; None: there is none. Raises: Unfit: it proves nobody."""
    token, kind = form.get(f"{which}_token"), form.get(f"{which}_token_type")
    if token is None:
        if kind is not None:
            raise malformed(f"There is a type of an {which} token, and no token.")
        return None
    if kind not in (wire.ACCESS_TOKEN, wire.JWT_TOKEN):
        raise malformed(f"{which}_token_type is the one of access tokens.")
    if held is None:
        raise malformed(f"The {which} token is not good here: unknown, ended, or revoked.")
    return held


def refused(error: str, why: str) -> Answer:
    status = 401 if error == "invalid_client" else 400
    return status, {"error": error, "error_description": why}, []

"""Every 'no' of the border: one row each, with a stable id that the log and callers may rely on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from gateway.domain.refused import UNKNOWN_OBJECT as UNKNOWN_OBJECT  # read from here, with the rows
from gateway.domain.refused import Refusal as Refusal
from gateway.domain.refused import Refused as Refused

_RPC_PARSE = -32700
_RPC_METHOD = -32601
_RPC_PARAMS = -32602

_REPEAT = "Repeat the call in a moment."
_ASK_ADMIN = "Ask the administrator of the gateway."


def _concealed(id_: str) -> Refusal:
    return replace(UNKNOWN_OBJECT, id=id_, hidden=True)


# -- who calls ------------------------------------------------------------------------------------
NOT_AUTHENTICATED = Refusal(
    "not_authenticated", 401, 40100,
    "The credential is missing, unknown, expired or revoked.",
    "Send a valid key or token as 'Authorization: Bearer ...'. 'customhouse key issue' makes a key; "
    "a token comes from an issuer that the gateway trusts.",
)  # fmt: skip
CONFLICTING_CREDENTIALS = Refusal(
    "conflicting_credentials", 400, 40000,
    "The request carries more than one credential, or one in a place where none may be.",
    "Send exactly one credential, in one Authorization header.",
)  # fmt: skip
TOKEN_TOO_WIDE = Refusal(
    "token_too_wide", 400, 40001,
    "The token that was asked for is wider than the one it would come from.",
    "Ask for fewer objects, a smaller budget, or leave them out: then they are those of the parent.",
)  # fmt: skip
TOKEN_REFUSED = Refusal(
    "token_refused", 400, 40002,
    "The client proved who it is, and no token can be given for this request.",
    "error_description of the answer says what is wrong with it.",
)  # fmt: skip
BAD_HOST = Refusal(
    "bad_host", 421, 42100,
    "The gateway does not answer for this Host.",
    "Use the address the gateway listens on, or add the name to allowed_hosts.",
)  # fmt: skip
BAD_ORIGIN = Refusal(
    "bad_origin", 403, 40301,
    "The gateway does not answer pages of this Origin.",
    "Call from a program, or add the origin to allowed_origins.",
)  # fmt: skip

# -- what is asked --------------------------------------------------------------------------------
MALFORMED = Refusal(
    "malformed", 400, -32600,
    "The message is not a valid JSON-RPC request.",
    "Send one JSON-RPC 2.0 request object, unambiguous and complete.",
)  # fmt: skip
UNPARSABLE = Refusal(
    "unparsable", 400, _RPC_PARSE,
    "The body is not strict JSON.",
    "Send UTF-8 JSON without duplicate keys, lone surrogates, NaN or deep nesting.",
)  # fmt: skip
TOO_LARGE_REQUEST = Refusal(
    "too_large_request", 413, 41300,
    "The request is larger than the gateway accepts.",
    "Send less in one call.",
)  # fmt: skip
UNSUPPORTED_MEDIA = Refusal(
    "unsupported_media", 415, 41500,
    "The body is not plain application/json.",
    "Send JSON with Content-Type: application/json and no Content-Encoding.",
)  # fmt: skip
HEADER_MISMATCH = Refusal(
    "header_mismatch", 400, -32020,
    "The MCP headers do not say the same as the body.",
    "Make MCP-Protocol-Version, Mcp-Method and Mcp-Name equal to the body.",
)  # fmt: skip
UNSUPPORTED_VERSION = Refusal(
    "unsupported_version", 400, -32022,
    "The gateway does not speak this protocol version.",
    "Use a version that server/discover lists.",
)  # fmt: skip
MISSING_CAPABILITY = Refusal(
    "missing_capability", 400, -32021,
    "The call needs a client capability that was not declared.",
    "Declare the capability in the request, if the client has it.",
)  # fmt: skip
UNKNOWN_METHOD = Refusal(
    "unknown_method", 404, _RPC_METHOD,
    "The gateway does not know this method.",
    "Use a method of the protocol revision you speak.",
)  # fmt: skip
UNKNOWN_SESSION = Refusal(
    "unknown_session", 404, 40400,
    "There is no such session, or it has ended.",
    "Send initialize again to open a new one.",
)  # fmt: skip
BAD_PARAMS = Refusal(
    "bad_params", 400, _RPC_PARAMS,
    "The parameters of the method are incomplete or of the wrong type.",
    "Send the parameters that the method's definition asks for.",
)  # fmt: skip
BAD_CURSOR = Refusal(
    "bad_cursor", 400, _RPC_PARAMS,
    "The cursor does not belong to this list, or the list has changed since.",
    "List again from the beginning, without a cursor.",
)  # fmt: skip
BAD_STATE = Refusal(
    "bad_state", 400, _RPC_PARAMS,
    "The requestState is forged, expired, or belongs to another call.",
    "Start the call again without requestState.",
)  # fmt: skip
TOO_MANY_ROUNDS = Refusal(
    "too_many_rounds", 200, 42904,
    "The call asked for input too many times.",
    "Start the call again, with what it asked for in the arguments.", as_result=True,
)  # fmt: skip
NOT_SUPPORTED_ACROSS_ERAS = Refusal(
    "not_supported_across_eras", 200, 50100,
    "The server needs something that the client's protocol revision cannot carry.",
    "Use a client of the revision the server speaks.", as_result=True,
)  # fmt: skip

# -- administration over HTTP ---------------------------------------------------------------------
ETAG_MISSING = Refusal(
    "etag_missing", 428, 42800,
    "The change does not say which state of the resource it is for.",
    "Read the resource, and send its ETag as If-Match.",
)  # fmt: skip
ETAG_STALE = Refusal(
    "etag_stale", 412, 41200,
    "The resource is not what it was when it was read; nothing was changed.",
    "Read it again, then decide again.",
)  # fmt: skip
IN_THE_WAY = Refusal(
    "in_the_way", 409, 40900,
    "Something that is so already stands in the way of the change.",
    "Read the resource, and change what stands in the way.",
)  # fmt: skip
NOT_VALID = Refusal(
    "not_valid", 422, 42200,
    "What the change would put in force is not valid; nothing was changed.",
    "Correct it, then send the change again.",
)  # fmt: skip
NOT_NOW = Refusal(
    "not_now", 503, 50307,
    "The gateway cannot carry this out now.", _REPEAT,
)  # fmt: skip

# -- may it ---------------------------------------------------------------------------------------
FORBIDDEN = _concealed("forbidden")  # no rule allows it, or one denies it, whatever the arguments
QUARANTINED = _concealed("quarantined")
NOT_APPROVED = _concealed("not_approved")
SUSPENDED = _concealed("suspended")
DENIED = Refusal(
    "denied", 200, 40300,
    "Policy does not allow this call as it stands.",
    "Change the arguments so that the condition holds, or ask for another role.", as_result=True,
)  # fmt: skip
APPROVAL_NEEDED = Refusal(
    "approval_needed", 200, 40310,
    "Somebody has to approve this call before it is made.",
    "Ask for the approval, then repeat exactly this call.", as_result=True,
)  # fmt: skip
APPROVAL_DENIED = Refusal(
    "approval_denied", 200, 40311,
    "Somebody was asked to approve this call, and denied it.",
    "Do not repeat the call; ask the approver why.", as_result=True,
)  # fmt: skip
MESSAGE_REFUSED = Refusal(
    "message_refused", 200, 40313,
    "The message breaks a rule that is declared for messages to this agent.",
    "Change the message so that it keeps the rule.", as_result=True,
)  # fmt: skip
INSUFFICIENT_SCOPE = Refusal(
    "insufficient_scope", 403, 40302,
    "The token does not cover this call, and a wider one would.",
    "Ask its issuer for a token with the scopes that WWW-Authenticate names.",
)  # fmt: skip
RATE_LIMITED = Refusal(
    "rate_limited", 200, 42900,
    "Too many calls in a short time.",
    "Wait, then repeat the call.", as_result=True,
)  # fmt: skip
INVALID_ARGUMENTS = Refusal(
    "invalid_arguments", 200, _RPC_PARAMS,
    "The arguments do not fit the tool's schema.",
    "Correct the arguments and call again.", as_result=True,
)  # fmt: skip
OVER_BUDGET = Refusal(
    "over_budget", 200, 42901,
    "The budget does not cover this call.",
    "Ask for a larger budget.", as_result=True,
)  # fmt: skip
RUN_LIMIT = Refusal(
    "run_limit", 200, 42905,
    "The run that this call is part of has reached one of its limits.",
    "Finish with what the run has, or start another run.", as_result=True,
)  # fmt: skip
LOOP = Refusal(
    "loop", 200, 42906,
    "This run has made the same call, with the same arguments, too often.",
    "Change the arguments, or stop: repeating it leads nowhere.", as_result=True,
)  # fmt: skip
RUN_STOPPED = Refusal(
    "run_stopped", 200, 40312,
    "The run that this call is part of was stopped.",
    "Make no further calls in this run.", as_result=True,
)  # fmt: skip
TOO_MANY_STREAMS = Refusal(
    "too_many_streams", 429, 42903,
    "Too many sessions or subscriptions are open at once.",
    "Close one before opening another.",
)  # fmt: skip
NOT_ASKABLE = Refusal(
    "not_askable", 200, 40303,
    "The server asked for input of a kind that it may not ask for, or that the client did not declare.",
    "Use a client that declares it, or have the kind allowed in the server's requests.",
    as_result=True,
)  # fmt: skip
INPUT_TOO_LATE = Refusal(
    "input_too_late", 200, 40800,
    "The server does not wait for this input any more; whether it acted is unknown.",
    "Start the call again without requestState.", as_result=True,
)  # fmt: skip
UNANSWERED = Refusal(
    "unanswered", 200, 40801,
    "The server asked for input, and the client gave none in time; whether it acted is unknown.",
    "Check whether the call took effect before repeating it, and answer what it asks.",
    as_result=True,
)  # fmt: skip

# -- the same call again --------------------------------------------------------------------------
KEY_REUSED = Refusal(
    "key_reused", 200, 40901,
    "This idempotency key was used for another call.",
    "Use a new key for a new call; a key belongs to one object and its arguments.", as_result=True,
)  # fmt: skip
OUTCOME_UNKNOWN = Refusal(
    "outcome_unknown", 200, 50401,
    "A call under this idempotency key was made, and what came of it is unknown; it was not repeated.",
    "Check whether the call took effect; only then repeat it, under a new key.", as_result=True,
)  # fmt: skip
RESULT_GONE = Refusal(
    "result_gone", 200, 41000,
    "The call under this idempotency key was made, and its result is not kept any more.",
    "Do not repeat the call; its outcome is in the log under its call id.", as_result=True,
)  # fmt: skip

# -- the gateway cannot now -----------------------------------------------------------------------
LOG_UNAVAILABLE = Refusal(
    "log_unavailable", 503, 50300,
    "The call could not be written to the log, so it was not made.", _REPEAT,
)  # fmt: skip
OUTCOME_UNWRITTEN = Refusal(
    "outcome_unwritten", 503, 50306,
    "The call was made, but its outcome could not be written to the log, so it is withheld.",
    "Check whether the call took effect before repeating it.",
)  # fmt: skip
POLICY_CHANGED = Refusal(
    "policy_changed", 503, 50301,
    "The rules changed while the call was being decided.", _REPEAT,
)  # fmt: skip
DRAINING = Refusal(
    "draining", 503, 50302,
    "The gateway is shutting down.", _REPEAT,
)  # fmt: skip
FROZEN = Refusal(
    "frozen", 503, 50308,
    "Everything behind the gateway was stopped by its operator.",
    "Wait until the operator thaws it.",
)  # fmt: skip
STOPPED = Refusal(
    "stopped", 503, 50309,
    "The call was ended, because what it is part of or goes to was stopped; whether it acted is unknown.",
    "Check whether the call took effect before repeating it.",
)  # fmt: skip
CLOCK_BEHIND = Refusal(
    "clock_behind", 503, 50303,
    "The gateway's clock is behind its log.",
    "Ask the administrator to correct the clock.",
)  # fmt: skip
DISK_LOW = Refusal(
    "disk_low", 503, 50304,
    "The gateway has too little disk space to admit calls.",
    "Ask the administrator to free disk space.",
)  # fmt: skip

# -- the upstream failed (Outcome.code) -----------------------------------------------------------
UPSTREAM_UNREACHABLE = Refusal(
    "upstream_unreachable", 200, 50200,
    "The server behind the gateway cannot be reached; the call was not made.", _REPEAT,
    as_result=True,
)  # fmt: skip
UPSTREAM_TIMEOUT = Refusal(
    "upstream_timeout", 200, 50400,
    "The server did not answer in time; whether it acted is unknown.",
    "Check whether the call took effect before repeating it.", as_result=True,
)  # fmt: skip
UPSTREAM_BROKEN = Refusal(
    "upstream_broken", 200, 50201,
    "The server's answer was not valid MCP.",
    "Check whether the call took effect before repeating it.", as_result=True,
)  # fmt: skip
UPSTREAM_DIED = Refusal(
    "upstream_died", 200, 50202,
    "The server ended before it answered; whether it acted is unknown.",
    "Check whether the call took effect before repeating it.", as_result=True,
)  # fmt: skip
BREAKER_OPEN = Refusal(
    "breaker_open", 200, 50305,
    "The server failed repeatedly and is being left alone; the call was not made.", _REPEAT,
    as_result=True,
)  # fmt: skip
RESULT_TOO_LARGE = Refusal(
    "result_too_large", 200, 50203,
    "The tool ran, but its result is larger than allowed and was withheld.",
    "Ask for less: narrow the query, or page through the result.", as_result=True,
)  # fmt: skip
UPSTREAM_REFUSED = Refusal(
    "upstream_refused", 200, 50205,
    "The server did not accept the gateway's credential; whether it acted is unknown.",
    "Check whether the call took effect before repeating it, and tell the administrator.",
    as_result=True,
)  # fmt: skip
CREDENTIAL_MISSING = Refusal(
    "credential_missing", 200, 50204,
    "The gateway has no credential for the server; the call was not made.", _ASK_ADMIN,
    as_result=True,
)  # fmt: skip

BY_ID: Mapping[str, Refusal] = MappingProxyType(
    {row.id: row for row in tuple(globals().values()) if isinstance(row, Refusal)}
)


_HTTP = "http_"


def code_of_status(status: int) -> str:
    """Outcome.code of what an upstream answered with *status*, and with nothing that could be used."""
    return f"{_HTTP}{status}"


def status_in_code(code: str) -> int:
    """The status that *code* says; 0: it says none."""
    said = code.removeprefix(_HTTP)
    return int(said) if said != code and said.isdecimal() else 0


def bad_params(problem: str) -> Refused:
    """A request that makes no sense; *problem* is for the log, too."""
    return Refused(BAD_PARAMS, detail={"problem": problem})

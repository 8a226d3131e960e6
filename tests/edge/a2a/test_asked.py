"""What a path, a verb and a body ask for, in either binding; everything else is refused."""

import pytest

from gateway.domain.a2a import METHODS as SPOKEN
from gateway.domain.refusal import Refused
from gateway.edge.a2a.asked import Asked, Place, check_version, place_of, read_rest, read_rpc
from gateway.edge.a2a.errors import FORMER, said_of
from gateway.edge.a2a.members import checked
from gateway.edge.a2a.methods import METHODS, find_method
from gateway.edge.head import Head

JSON = Head({b"content-type": b"application/json"})


def test_every_method_of_the_protocol_is_a_row_and_there_is_no_other() -> None:
    assert METHODS.keys() == SPOKEN.keys()


@pytest.mark.parametrize(
    ("verb", "path", "method", "params"),
    [
        ("POST", "message:send", "SendMessage", {}),
        ("POST", "message:stream", "SendStreamingMessage", {}),
        ("GET", "tasks/t-1", "GetTask", {"id": "t-1", "historyLength": 3}),
        ("GET", "tasks", "ListTasks", {"historyLength": 3}),
        ("POST", "tasks/t-1:cancel", "CancelTask", {"id": "t-1"}),
        ("GET", "tasks/t-1:subscribe", "SubscribeToTask", {"id": "t-1", "historyLength": 3}),
        ("POST", "tasks/t-1:subscribe", "SubscribeToTask", {"id": "t-1"}),
        (
            "DELETE",
            "tasks/t-1/pushNotificationConfigs/p",
            "DeleteTaskPushNotificationConfig",
            {"taskId": "t-1", "id": "p", "historyLength": 3},
        ),
        ("GET", "extendedAgentCard", "GetExtendedAgentCard", {"historyLength": 3}),
    ],
)
def test_a_path_and_a_verb_are_one_method(
    verb: str, path: str, method: str, params: dict[str, object]
) -> None:
    body = b"{}" if verb == "POST" else b""
    asked = read_rest(Place("billing", path), verb, b"historyLength=3", JSON, body)
    assert (asked.method, asked.params) == (method, params)


@pytest.mark.parametrize(
    ("verb", "path", "query", "body", "code"),
    [
        ("GET", "message:send", b"", b"", "unknown_method"),
        ("DELETE", "tasks/t-1", b"", b"", "unknown_method"),
        ("GET", "tasks/a/b", b"", b"", "unknown_method"),
        ("POST", "rivals/message:send", b"", b"{}", "unknown_method"),
        ("GET", "tasks/t-1", b"historyLength=x", b"", "bad_params"),
        ("GET", "tasks", b"pageSize=1&pageSize=2", b"", "bad_params"),
        ("POST", "tasks/t-1:cancel", b"", b'{"id":"t-2"}', "bad_params"),
        ("POST", "message:send", b"", b'{"a":1,"a":2}', "unparsable"),
        ("POST", "message:send", b"", b"[]", "malformed"),
    ],
)
def test_what_is_asked_in_no_one_way_is_refused(
    verb: str, path: str, query: bytes, body: bytes, code: str
) -> None:
    with pytest.raises(Refused) as refused:
        read_rest(Place("billing", path), verb, query, JSON, body)
    assert refused.value.refusal.id == code


def test_a_body_of_another_type_and_a_message_without_an_id_are_refused() -> None:
    body = b'{"jsonrpc":"2.0","method":"GetTask","params":{}}'
    with pytest.raises(Refused, match="unsupported_media"):
        read_rpc(Place("billing", ""), Head({b"content-type": b"text/plain"}), body)
    with pytest.raises(Refused, match="malformed"):
        read_rpc(Place("billing", ""), JSON, body)


@pytest.mark.parametrize("said", [b"", b"0.3", b"2.0", b"99", b"1x"])
def test_another_version_is_not_spoken(said: bytes) -> None:
    with pytest.raises(Refused, match="unsupported_version"):
        check_version(Head({b"a2a-version": said}), "GetTask")
    check_version(Head({b"a2a-version": b"1.0"}), "GetTask")


@pytest.mark.parametrize(
    ("method", "words"),
    [("message/send", "message/send of A2A 0.3 is SendMessage in 1.0."), ("SendMessage", "")],
)
def test_who_says_no_version_is_told_what_to_send(method: str, words: str) -> None:
    with pytest.raises(Refused) as refused:
        check_version(Head({}), method)
    message = said_of(refused.value).message
    assert message.endswith(f"Send the header A2A-Version: 1.0. {words}".strip())
    assert "server/discover" not in message


@pytest.mark.parametrize(("former", "now"), FORMER.items())
def test_a_method_of_the_version_before_is_told_its_name_in_this_one(former: str, now: str) -> None:
    assert now in METHODS
    with pytest.raises(Refused, match="unknown_method") as refused:
        find_method(former)
    assert f"{former} of A2A 0.3 is {now} in 1.0." in said_of(refused.value).message


def test_a_path_of_something_else_is_not_of_the_outlet() -> None:
    assert place_of("/a2a/billing/") == place_of("/a2a/billing") == Place("billing", "")
    assert place_of("/a2a/") is None
    assert place_of("/mcp") is None


def test_a_member_has_one_name_however_it_is_spelt() -> None:
    config = b'{"task_push_notification_config":{"url":"u"}}'
    inner = b'{"task_id":"t","context_id":"c","reference_task_ids":["r"],"metadata":{"my_own":1}}'
    body = b'{"message":%b,"configuration":%b}' % (inner, config)
    asked = read_rest(Place("billing", "message:send"), "POST", b"", JSON, body)
    assert asked.params == {
        "message": {
            "taskId": "t",
            "contextId": "c",
            "referenceTaskIds": ["r"],
            "metadata": {"my_own": 1},
        },
        "configuration": {"taskPushNotificationConfig": {"url": "u"}},
    }


@pytest.mark.parametrize(
    "said",
    [
        b'{"Message":{}}',
        b'{"message":{"TaskId":"t"}}',
        b'{"message":{"task-id":"t"}}',
        b'{"message":{"parts":[{"data":1,"DATA":2}]}}',
        b'{"message":{"part_s":[]}}',
        '{"message":{"part\u017f":[]}}'.encode(),
        b'{"configuration":{"TaskPushNotificationConfig":{}}}',
        b'{"configuration":{"taskPushNotificationConfig":{"URL":"u"}}}',
        b'{"configuration":{"taskPushNotificationConfig":{"authentication":{"Scheme":"s"}}}}',
    ],
)
def test_a_member_in_another_case_is_refused_at_every_level(said: bytes) -> None:
    with pytest.raises(Refused, match="bad_params"):
        read_rest(Place("billing", "message:send"), "POST", b"", JSON, said)


def test_what_the_protocol_does_not_know_is_left_out_of_a_message() -> None:
    body = b'{"message":{"kind":"message","parts":[{"text":"t","kind":"text"}],"metadata":{"a":1}}}'
    asked = read_rest(Place("billing", "message:send"), "POST", b"", JSON, body)
    assert asked.params == {"message": {"parts": [{"text": "t"}], "metadata": {"a": 1}}}


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("GetTask", {"id": "t", "historyLength": "a long text"}),
        ("GetTask", {"id": "t", "historyLength": True}),
        ("ListTasks", {"status": {"text": "x"}}),
        ("ListTasks", {"status": "whatever it is"}),
        ("ListTasks", {"statusTimestampAfter": "the day when"}),
        ("ListTasks", {"includeArtifacts": "x"}),
        ("ListTasks", {"pageToken": ["x"]}),
        ("ListTaskPushNotificationConfigs", {"taskId": "t", "pageToken": "x" * 2000}),
    ],
)
def test_a_member_of_another_kind_than_its_own_is_refused(
    method: str, params: dict[str, object]
) -> None:
    with pytest.raises(Refused, match="bad_params"):
        checked(Asked("billing", method, params))


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("GetTask", {"id": "t"}),
        ("ListTasks", {}),
        ("SubscribeToTask", {"id": "t"}),
        ("SendMessage", {"message": {}}),
        ("ListTaskPushNotificationConfigs", {"taskId": "t"}),
    ],
)
def test_a_member_that_its_method_has_not_goes_no_further(
    method: str, params: dict[str, object]
) -> None:
    assert checked(Asked("billing", method, {**params, "note": "x"})).params == params


@pytest.mark.parametrize(
    "wrong", ["../../tasks", "..", ".", "a/b", "a\\b", "a%2fb", "a?b", "a#b", "a\x00", "a\x85", 7]
)
def test_an_id_that_would_be_another_path_is_none(wrong: object) -> None:
    for method in ("Create", "Get", "Delete"):
        asked = Asked(
            "billing", f"{method}TaskPushNotificationConfig", {"taskId": "t", "id": wrong}
        )
        with pytest.raises(Refused, match="bad_params"):
            checked(asked)
    checked(
        Asked("billing", "GetTaskPushNotificationConfig", {"taskId": "t", "id": "3f6c-9f.0e_6"})
    )


def test_two_spellings_of_one_member_are_refused() -> None:
    body = b'{"message":{"taskId":"mine","task_id":"theirs"}}'
    with pytest.raises(Refused, match="bad_params"):
        read_rest(Place("billing", "message:send"), "POST", b"", JSON, body)

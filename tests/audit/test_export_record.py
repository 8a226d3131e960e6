"""What a record of an export says of runs, grants and models, beside the entries it is made of."""

from __future__ import annotations

import json

from gateway.audit import export
from gateway.audit.entry import encode
from tests.audit.samples import GRANT, RUN, SAMPLES, TOOL

CALL = [json.loads(encode(SAMPLES[one])) for one in ("intent in a run", "outcome of a model")]


def test_a_record_says_to_which_run_a_call_belongs_and_what_the_provider_counted() -> None:
    said = export.record("log", CALL, {TOOL: "default model/gpt"})
    assert (said["run"], said["chain"][0]) == (RUN, GRANT)
    assert (said["said_prompt_tokens"], said["said_completion_tokens"]) == (120, 0)
    assert said["object"] == "model/gpt"
    assert {"approval", "key"} <= said.keys()


def test_a_record_of_a_call_in_no_run_says_nothing_of_runs() -> None:
    entries = [json.loads(encode(SAMPLES[one])) for one in ("intent", "outcome")]
    said = export.record("log", entries, {})
    assert not said.keys() & {"run", "chain", "approval", "key", "said_prompt_tokens"}

"""Ways to change an export, each to be found out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]


def calls(records: list[Json]) -> Iterator[Json]:
    return (record for record in records if record.get("data", record)["kind"] == "call")


def another_status(records: list[Json]) -> None:
    next(calls(records))["status"] = "failed"


def another_entry(records: list[Json]) -> None:
    next(calls(records))["entries"][1]["used"]["calls"] = 0


def consistently_altered(records: list[Json]) -> None:
    call = next(calls(records))
    call["entries"][1]["used"]["calls"] = call["charged_calls"] = 0


def another_name(records: list[Json]) -> None:
    call = next(calls(records))
    call["agent"] = call["names"][call["entries"][0]["who"]] = "guest"


def two_names_exchanged(records: list[Json]) -> None:
    call = next(calls(records))
    names, salts = call["names"], call["salts"]
    who, tenant = call["entries"][0]["who"], call["entries"][0]["tenant"]
    names[who], names[tenant] = names[tenant], names[who]
    salts[who], salts[tenant] = salts[tenant], salts[who]
    call["agent"], call["tenant"] = call["tenant"], call["agent"]


def a_name_too_many(records: list[Json]) -> None:
    call = next(calls(records))
    call["names"]["s0000000000000000"] = call["salts"]["s0000000000000000"] = "00"


def a_key_more(records: list[Json]) -> None:
    records[0]["approved_by"] = "the chief"


def the_proof_of_another(records: list[Json]) -> None:
    records[0]["proofs"], records[1]["proofs"] = records[1]["proofs"], records[0]["proofs"]


def no_proof(records: list[Json]) -> None:
    records[0]["proofs"] = []


def the_outcome_of_another(records: list[Json]) -> None:
    call, other = next(calls(records)), records[0]
    call["entries"][1], call["proofs"][1] = other["entries"][0], other["proofs"][0]


def twice(records: list[Json]) -> None:
    records.append(records[0])


def another_log(records: list[Json]) -> None:
    records[0]["log"] = "00" * 16


def a_number_that_reads_alike(records: list[Json]) -> None:
    next(calls(records))["charged_calls"] = True

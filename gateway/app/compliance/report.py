"""The report: every question with its answer, at one checkpoint, with proofs of what it shows."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

from gateway.app.compliance.catalogue import EDITIONS, NEVER_AUTOMATIC, QUESTIONS, Question
from gateway.app.compliance.judging import JUDGES, Answer, Evidence, Status
from gateway.app.compliance.survey import survey
from gateway.app.operations.exporting import Source
from gateway.app.operations.opening import Opened
from gateway.app.operations.query import Query, Term
from gateway.app.operations.reading import policy_in_force, read_house
from gateway.app.operations.recalling import LEFT_SEALED, Decided
from gateway.app.operations.replaying import replay
from gateway.audit.checkpoint import Vkey
from gateway.audit.prover import Prover
from gateway.audit.verify import verify_copy
from gateway.audit.verify_export import verify_file
from gateway.config import Config
from gateway.store.trail import Trail, database_of, opened

MAX_SAMPLES = 3
EXPORTED = 100  # records of the incident export that is tried
_SAYS = "evidence for those who judge; no statement about whether a requirement is met"


def report(config: Config, vkey: Vkey, remembered: bytes | None) -> dict[str, Any]:
    """Evaluate everything, reading only. Arguments stay sealed: what needs them is counted.

    Raises: NoLog, NotProvable: the entries are not those that were signed.
    """
    with ExitStack() as stack:
        source = Source(config.data_dir, stack)
        prover = source.prover()
        trail = stack.enter_context(opened(config.data_dir))
        house = read_house(config)
        evidence = Evidence(
            trail=trail,
            report=verify_copy(database_of(config.data_dir), vkey, remembered),
            seen=survey(trail, source.export.size),
            replayed=replay(trail, house, _before(trail, source.export.size), _sealed),
            house=house,
            policy=policy_in_force(trail),
            export_problem=_exported(source, prover, vkey),
        )
        checks = [_checked(question, evidence, prover) for question in QUESTIONS]
    return {
        "says": _SAYS,
        "log": source.export.log,
        "size": source.export.size,
        "checkpoint": source.export.note,
        "policy": evidence.policy.version,
        "editions": list(EDITIONS),
        "summary": dict(sorted(Counter(check["status"] for check in checks).items())),
        "checks": checks,
        "never_automatic": list(NEVER_AUTOMATIC),
    }


def _checked(question: Question, evidence: Evidence, prover: Prover) -> dict[str, Any]:
    judge = JUDGES.get(question.id)
    unknown = Answer(Status.NOT_EVALUABLE, (question.missing,))
    answer = unknown if judge is None else judge(evidence)
    covered = [leaf for leaf in answer.samples if 0 <= leaf < prover.size]
    return {
        "number": question.number,
        "id": question.id,
        "asks": question.asks,
        "status": str(answer.status),
        "says": list(answer.says),
        "figures": dict(answer.figures),
        "evidence_for": list(question.maps),
        "samples": [
            {"leaf": leaf, "proof": prover.prove_leaf(leaf)} for leaf in covered[:MAX_SAMPLES]
        ],
    }


def _sealed(entry: Decided) -> Opened:
    return Opened(entry.i, "arguments", problem=LEFT_SEALED)


def _before(trail: Trail, size: int) -> Query:
    """Calls and refusals up to the checkpoint; entries of its last microsecond may be left out."""
    terms = (Term("kind", ("call", "refused")),)
    until_us = trail.entry(size).t if trail.size() > size else 10**16
    return Query(terms, until_us=until_us)


def _exported(source: Source, prover: Prover, vkey: Vkey) -> str:
    """Why an export of calls with proofs does not verify; "" when it does."""
    calls = source.records(Query((Term("kind", ("call",)),)), "jsonl", prover)
    with tempfile.NamedTemporaryFile("w", prefix="customhouse-", encoding="ascii") as file:
        for said in islice(calls, EXPORTED):
            file.write(json.dumps(said) + "\n")
        file.flush()
        found = verify_file(Path(file.name), vkey)
    return "" if found.clean else ", ".join(f"{code}: {n}" for code, n in found.counts.items())

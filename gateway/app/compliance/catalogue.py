"""The questions of a compliance report, and the requirements that each is evidence for.

Names of requirements move: each report says which editions it means.
"""

from __future__ import annotations

from dataclasses import dataclass

EDITIONS = (
    "EU AI Act: Regulation (EU) 2024/1689",
    "GDPR: Regulation (EU) 2016/679",
    "SOC 2: Trust Services Criteria 2017 (points of focus 2022)",
    "ISO/IEC 42001:2023",
    "NIST AI RMF 1.0",
    "OWASP Top 10 for Agentic Applications 2026 (ASI), OWASP MCP Top 10 2025 beta (MCP)",
)


@dataclass(frozen=True, slots=True)
class Question:
    """One row. *missing*: why it cannot be evaluated here; "" when it can."""

    number: int
    id: str
    asks: str
    maps: tuple[str, ...]
    missing: str = ""


_NO_APPROVALS = "calls are not approved one by one by people here"
_NOT_RECORDED = "the log does not record it"

QUESTIONS = (
    Question(1, "log_verifies", "Does the log verify from its beginning to its newest checkpoint?",
             ("AIA 12", "SOC2 CC7.2", "MCP08")),
    Question(2, "calls_paired", "Has every outcome an intent, and was every intent in doubt resolved?",
             ("AIA 12", "SOC2 CC7")),
    Question(3, "checkpoints", "Was a checkpoint published at least every minute while it served?",
             ("SOC2 CC7", "SOC2 CC6.1")),
    Question(4, "decisions_replay", "Is every decision what its policy version says?",
             ("SOC2 CC6.1", "SOC2 CC6.3", "ISO42001 A.6")),
    Question(5, "retention", "Was nothing erased for its age before 183 days?",
             ("AIA 19", "AIA 26")),
    Question(6, "erasures", "Is what was erased gone, with every commitment intact?",
             ("GDPR 17",)),
    Question(7, "no_wildcards", "Is there a policy, and none of its allows for everybody or everything?",
             ("SOC2 CC6.3", "ASI02", "ASI03", "MCP02")),
    Question(8, "rights_in_use", "Has every agent called within 90 days, and every role a holder?",
             ("SOC2 CC6.2", "SOC2 CC6.3")),
    Question(9, "duties_separated", "Was every change made by an operator or an administrator, and none by another agent?",
             ("SOC2 CC6.3", "SOC2 CC8.1")),
    Question(10, "approvals", "Was every high-risk call approved by a person?",
             ("AIA 14", "ASI09"), _NO_APPROVALS),
    Question(11, "revocation_holds", "Did no call pass more than a second after its key or agent was revoked?",
             ("AIA 14(4)(e)", "ASI10")),
    Question(12, "keys_expire", "Does every key that is good expire, within a year?",
             ("MCP01", "MCP07", "SOC2 CC6.1")),
    Question(13, "scope_growth", "Did the scope of any agent grow?",
             ("MCP02", "ASI03"), "what tokens prove is not in the log"),
    Question(14, "definitions_pinned", "Had every tool that was called an approved definition?",
             ("ASI04", "MCP03", "MCP04", "MCP09")),
    Question(15, "descriptions_scanned", "Is there nothing hidden in any approved definition?",
             ("MCP03", "ASI01")),
    Question(16, "refusal_rates", "Were unusual rates of refusals noticed?",
             ("SOC2 CC7.2", "SOC2 CC7.3", "ASI10"), "what is usual, and who looked, is not known here"),
    Question(17, "budgets", "Has every agent a budget over it, and was none ever exceeded?",
             ("ASI08",)),
    Question(18, "delegation", "Stayed delegation within its depth, and rights within the parent's?",
             ("ASI03", "ASI07", "ASI08"), "what tokens prove is not in the log"),
    Question(19, "tenants_apart", "Did no call act in another tenant than its caller's?",
             ("SOC2 CC6.1", "MCP10")),
    Question(20, "data_classes", "Did no result reach whom it was not meant for?",
             ("MCP10", "ISO42001 A.7"), "results have no classes here"),
    Question(21, "payload_detectors", "Are secrets and personal data found in what is kept?",
             ("GDPR 5", "MCP01", "MCP10"), "what is kept is sealed, and not searched"),
    Question(22, "changes_logged", "Has every change an author?",
             ("SOC2 CC8.1", "NIST GOVERN", "NIST MANAGE")),
    Question(23, "inventory", "Has every agent an owner, a purpose and a risk class?",
             ("NIST MAP", "ISO42001 A.4", "ISO42001 A.5"), _NOT_RECORDED),
    Question(24, "clock", "Did time never go back?",
             ("AIA 12",)),
    Question(25, "incident_export", "Can evidence be exported, and does it verify?",
             ("AIA 73", "SOC2 CC7.4")),
)  # fmt: skip

NEVER_AUTOMATIC = (
    "the risk class of the use",
    "the quality of human oversight",
    "training",
    "the legal basis",
)

"""The files of a new house: a configuration that says what it could say, and a policy to grow from."""

from __future__ import annotations

from collections.abc import Mapping

CONFIGURATION = """\
# Customhouse. Everything that is commented out shows its default, or an example.
# See what holds: customhouse config show      Check it: customhouse config check

listen = "127.0.0.1:8080"       # beyond this machine only once agents have keys
data_dir = "./data"             # the log and the registry; its owner is the operator
keys_dir = "./keys"             # what signs and seals the log: back it up, never beside the data
policies = "./policies"         # who may do what; put in force with: customhouse policy apply
# allowed_hosts = ["tools.example.com"]
# allowed_origins = ["https://app.example.com"]
# log_level = "info"

# -- servers: what agents may reach, once its definitions are approved ----------------------------
# Also by command: customhouse server add time -- mcp-server-time

# [servers.time]
# command = ["mcp-server-time"]
# approve = "first-seen"        # default "ask": a person approves (customhouse server approve time)

# [servers.docs]
# url = "https://docs.example.com/mcp"
# auth = "env:DOCS_TOKEN"       # secrets by reference only: env:NAME or file:PATH
# tools = ["get_*", "search_*"] # take in only these
# tags = { "get_*" = ["file_read"] }
# timeout_s = 60
# limits = { rate = "600/min", budget = { calls = "10k/day" } }   # of each tool, per tenant

# -- models and other agents: each is allowed by a rule like everything else ----------------------

# [models.gpt]
# url = "https://api.example.com/v1"                # OpenAI-compatible; clients ask at /v1
# auth = "env:OPENAI_KEY"
# model = { id = "gpt-5-mini", class = "small", context = 128000, prompt = 150000, completion = 600000 }
#                               # prices: micro-units per million tokens, here 0.15 and 0.60

# [peers.billing]
# url = "https://billing.example.com/.well-known/agent-card.json"    # A2A 1.0; asked at /a2a/billing
# rules = { max_bytes = 65536, skills = ["quote"] }

# -- agents: who may knock ------------------------------------------------------------------------
# Also by command: customhouse agent add report-bot --role reader; customhouse key issue report-bot

# [agents.report-bot]
# team = "reporting"
# roles = ["reader"]
# key = "env:REPORT_BOT_KEY"    # leave out when its keys are issued by command
# rate = "60/min"
# budget = { tokens = "200k/day", calls = "1000/day" }

# [teams.reporting]
# budget = { tokens = "1M/day" }

# [tenants.default]
# budget = { cost = "5M/month" } # integer micro-units; prices: [servers.docs] price = 200

# -- runs: calls that belong together (header Customhouse-Run); limits of each ---------------------

# [runs]
# depth = 4
# tokens = 1000000

# -- toolsets: bundles at /mcp/t/NAME; they give nobody a right ------------------------------------

# [toolsets.office]
# tools = ["docs/search_*", "time/get_current_time", "role:reader"]
"""

POLICY = """\
# Who may do what. What no rule allows is denied, and a deny overrides every allow.
#
#   p, subject, tenant, object, act, condition, effect      subject: an agent, a role, or *
#   g, member, role, tenant                                  member holds role
#
# Agents get their roles in customhouse.toml or with: customhouse agent grant NAME ROLE
# Objects: tool/SERVER/NAME, resource/SERVER/URI, prompt/SERVER/NAME, model/NAME, peer/NAME/SKILL;
# * only as the last character. A condition approval:ROLE lets a call wait for somebody's yes.
# After a change: customhouse policy check; customhouse policy test; customhouse policy apply

# A guard rail for everybody: what is tagged `destructive` is not called by agents.
p, *, *, tool/*, call, destructive, deny

# A role to begin with: it may ask the server `time`, and nothing else. Nobody holds it yet.
p, reader, default, tool/time/*, call, -, allow
"""

# As in the example of the repository; what each noun lets see and do says its README.md.
ADMIN_ROLES = """
# ---- Who administers the gateway over /api/v1 ----------------------------------------------------
# In the tenant column * means here: about every tenant. The same rule with one tenant instead shows
# that tenant's agents, keys, budgets and calls, and nothing of the house. Who holds such a role is
# for the platform to say: a role given in tenants/*.csv counts in that tenant only.
# Nobody holds any of these until an agent of the tenant `default` is given it.

g, gateway-operator, onlooker, default
g, policy-author, onlooker, default
g, approver, onlooker, default
g, auditor, onlooker, default

p, onlooker, *, admin/health, read, -, allow
p, onlooker, *, admin/servers, read, -, allow
p, onlooker, *, admin/tools, read, -, allow
p, onlooker, *, admin/agents, read, -, allow

# gateway-operator: keeps it running. Approves nothing, reads no calls.
p, gateway-operator, *, admin/metrics, read, -, allow
p, gateway-operator, *, admin/servers, admin, -, allow
p, gateway-operator, *, admin/keys, read, -, allow
p, gateway-operator, *, admin/keys, admin, -, allow
p, gateway-operator, *, admin/budgets, read, -, allow

# policy-author: writes the policy and puts it in force, or proposes it where it takes two.
p, policy-author, *, admin/policy, read, -, allow
p, policy-author, *, admin/policy, admin, -, allow

# approver: approves what servers say of themselves, policies that others propose, and calls that wait.
p, approver, *, admin/approvals, read, -, allow
p, approver, *, admin/approvals, admin, -, allow
p, approver, *, admin/policy, read, -, allow

# auditor: reads everything, the only one to read arguments and results, and changes nothing.
p, auditor, *, admin/*, read, -, allow
"""

CONDITIONS = """\
# Names for the condition column of policy.csv, joined there by + when several must hold.
# What cannot be evaluated never satisfies an allow and never escapes a deny.

[destructive]
about = "the tool is tagged as destructive ([servers.X] tags in customhouse.toml)"
tags = { has_any = ["destructive"] }

# [small_refund]
# about = "a refund of more than nothing and at most 50"
# arguments = [{ at = "/amount", gt = 0, lte = 50 }]
"""

CASES = """\
# Golden decisions: a policy that answers one of them otherwise is never put in force.

[[case]]
name = "a reader may ask the time"
role = "reader"
object = "tool/time/get_current_time"
expect = "allow"

[[case]]
name = "a reader may do nothing else"
role = "reader"
object = "tool/desk/refund"
expect = "deny"

[[case]]
name = "what is tagged destructive is denied whatever the role"
role = "reader"
object = "tool/time/set_clock"
tags = ["destructive"]
expect = "deny"
"""


def model() -> str:
    """The one access model that the gateway is compiled for."""
    from gateway.policy.casbin_model import EXPECTED

    sections = (
        f"[{section}]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())
        for section, keys in EXPECTED.items()
    )
    head = "# The access model. The gateway refuses a folder with another one.\n\n"
    return head + "\n".join(sections)


def files(more_rules: str = "") -> Mapping[str, str]:
    """Relative path -> content, in the order in which they are written."""
    return {
        "customhouse.toml": CONFIGURATION,
        "policies/model.conf": model(),
        "policies/policy.csv": POLICY + more_rules,
        "policies/conditions.toml": CONDITIONS,
        "policies/cases/first.toml": CASES,
    }

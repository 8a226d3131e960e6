"""`customhouse`: the group of all commands, and the one place where their ends become exit codes."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from gateway.cli.elsewhere import Elsewhere, where
from gateway.cli.lazy import Late, LazyGroup
from gateway.cli.meant import in_our_words
from gateway.cli.screen import show_refused
from gateway.domain.operator import Exit, OperationRefused

INTERRUPTED = 130  # as shells have it: 128 + SIGINT
BROKEN_PIPE = 141  # 128 + SIGPIPE: whoever read the output has seen enough

EPILOG = """\
\b
Exit codes:
  0 yes    1 a clean no: denied, tests failed, tampering found    2 usage
  3 configuration, policy or log invalid    4 not an operator
  5 cannot reach the gateway or a server    6 conflict    70 bug
"""
COMMANDS = {
    "init": Late("gateway.cli.start:init", "Write a configuration and a policy to begin with."),
    "serve": Late("gateway.cli.serving:serve", "Run the gateway."),
    "demo": Late("gateway.cli.demo:demo", "Watch agents call real tools through the border."),
    "config": Late("gateway.cli.settings:config", "Show or check the configuration."),
    "server": Late("gateway.cli.servers:server", "Servers behind the border."),
    "tool": Late("gateway.cli.tools:tool", "Their definitions: look, compare, approve, call."),
    "agent": Late("gateway.cli.agents:agent", "Who may knock."),
    "key": Late("gateway.cli.keys:key", "API keys of agents."),
    "token": Late("gateway.cli.tokens:token", "Tokens: given out to agents, and those of issuers."),
    "policy": Late("gateway.cli.policies:policy", "Who may do what: check, test, ask, apply."),
    "approval": Late("gateway.cli.approvals:approval", "Calls that wait for somebody's yes."),
    "run": Late("gateway.cli.runs:run", "Calls that belong together, and what they cost."),
    "peer": Late("gateway.cli.stopping:peer", "Agents behind the border: list, stop, resume."),
    "model": Late("gateway.cli.stopping:model", "Models behind the border: list, stop, resume."),
    "freeze": Late("gateway.cli.stopping:freeze", "Stop everything, at once."),
    "thaw": Late("gateway.cli.stopping:thaw", "Let calls through again."),
    "budget": Late("gateway.cli.budgets:budget", "What limits have left."),
    "connect": Late(
        "gateway.cli.connect:connect", "Point a client at the gateway, or try the way."
    ),
    "adopt": Late("gateway.cli.adopt:adopt", "Put a client's servers behind the gateway."),
    "bridge": Late("gateway.cli.bridge:bridge", "Speak MCP on standard input and output."),
    "doctor": Late("gateway.cli.doctor:doctor", "Look at everything, and say what is wrong."),
    "compliance": Late("gateway.cli.compliance:compliance", "Evidence for those who judge."),
    "audit": Late("gateway.cli.audit:audit", "Search, read and prove the log."),
}


class Root(LazyGroup):
    """Ends with an exit code that scripts can rely on, whatever happened."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            _say_where(command, cmd_name)
        return command

    def main(self, args: Sequence[str] | None = None, *more: Any, **extra: Any) -> NoReturn:
        arguments = list(sys.argv[1:] if args is None else args)
        extra["standalone_mode"] = False
        sys.exit(self._ended(arguments, more, extra))

    def _ended(self, arguments: list[str], more: Any, extra: dict[str, Any]) -> int:
        as_json = "--json" in arguments
        try:
            ended = super().main(arguments, *more, **extra)
            sys.stdout.flush()
        except click.UsageError as err:
            in_our_words(err).show()
            return Exit.USAGE
        except click.ClickException as err:
            err.show()
            return Exit.USAGE
        except (click.Abort, KeyboardInterrupt):
            click.echo("interrupted", err=True)
            return INTERRUPTED
        except (BrokenPipeError, SystemExit):  # click ends so when nobody reads the output
            # Nothing more can be written there, also not by the interpreter when it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return BROKEN_PIPE
        except OperationRefused as no:
            show_refused(no, as_json=as_json)
            return int(no.exit_code)
        except Exception as err:  # noqa: BLE001 - the outermost ring: a person is told whatever it is
            return _explained(err, as_json=as_json)
        return ended if isinstance(ended, int) else Exit.YES


@click.command(
    cls=Root,
    late=COMMANDS,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="customhouse", prog_name="customhouse")
@click.option("--url", help="Administer the gateway there (default: $CUSTOMHOUSE_URL, else here).")
@click.option("--key", help="With --url: the key, by reference (default: env:CUSTOMHOUSE_KEY).")
@click.pass_context
def main(ctx: click.Context, url: str | None, key: str | None) -> None:
    """Customhouse: a tool gateway with governance for AI agents."""
    ctx.obj = Elsewhere(url, key)


def _say_where(command: click.Command, words: str) -> None:
    """End the help of *command*, or of each in the group that it is, with where it works."""
    if not isinstance(command, click.Group):
        command.epilog = where(words)
        return
    for name, one in command.commands.items():
        _say_where(one, f"{words} {name}")


def _explained(err: BaseException, *, as_json: bool) -> int:
    """Say what is known of *err*; what is not known is a bug, with a report beside it."""
    while isinstance(err, BaseExceptionGroup) and len(err.exceptions) == 1:
        err = err.exceptions[0]
    from gateway.cli.faults import told

    no = told(err)
    if no is None:
        no = _bug(err)
    show_refused(no, as_json=as_json)
    return int(no.exit_code)


def _bug(err: BaseException) -> OperationRefused:
    with tempfile.NamedTemporaryFile(
        "w", prefix="customhouse-", suffix=".txt", delete=False
    ) as report:
        report.write("".join(traceback.format_exception(err)))
    return OperationRefused(
        f"{type(err).__name__}: this is a bug",
        "the command ran into something that nobody thought of",
        f"report it, with {report.name} (read it first: it may hold names of yours)",
        Exit.BUG,
    )

"""customhouse init: the files to begin with."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from gateway.cli.invocation import FILE, Invocation, common
from gateway.domain.operator import Exit, OperationRefused, usage


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), required=False)
@click.option("--admin-roles", is_flag=True, help="Add roles for those who administer it.")
@common
def init(on: Invocation, folder: Path | None, admin_roles: bool) -> None:
    """Write customhouse.toml and policies/ into FOLDER (default: here). Nothing is overwritten.

    With --config FILE the configuration is FILE, and the policies go beside it.

    The roles of --admin-roles are gateway-operator, policy-author, approver and auditor; nobody holds
    one until an agent is given it: customhouse agent grant NAME ROLE.
    """
    from gateway.cli.starter import ADMIN_ROLES, files

    folder, settings = _places(on, folder)

    # A policy that is there is somebody's: a file of ours in it could change what it allows.
    kept_policy = (folder / "policies").exists()
    if kept_policy and admin_roles:
        raise _somebodys(folder / "policies")
    written: list[str] = []
    kept: list[str] = []
    made = files(ADMIN_ROLES if admin_roles else "")
    contents = {settings if name == FILE else name: text for name, text in made.items()}
    for name, content in contents.items():
        is_theirs = kept_policy and name.startswith("policies/")
        done = not is_theirs and _write_new(folder / name, content)
        (written if done else kept).append(name)
    on.screen.whole({"folder": str(folder), "written": written, "kept": kept})
    for name in written:
        on.screen.line(f"wrote {folder / name}")
    for name in kept:
        on.screen.note(f"kept {folder / name}: it is there already")
    on.screen.note("keys/ and data/ will appear beside them; keep both out of version control")
    on.screen.note(f"next: {_next(folder, settings)}")


def _somebodys(policy: Path) -> OperationRefused:
    return OperationRefused(
        f"{policy} is there already",
        "a policy is somebody's, and no rule is added to it",
        "write them into a new folder and copy them: customhouse init --admin-roles FOLDER",
        Exit.CONFLICT,
    )


def _places(on: Invocation, folder: Path | None) -> tuple[Path, str]:
    """Where to write, and what the configuration is called there."""
    if on.file is None:
        return folder or Path(), FILE
    if folder is not None:
        raise usage("FOLDER and --config name two places", "say one of them")
    return on.file.parent, on.file.name


def _next(folder: Path, settings: str) -> str:
    serve = "customhouse serve"
    if settings != FILE:
        return f"{serve} --config {shlex.quote(str(folder / settings))}"
    return serve if folder == Path() else f"cd {shlex.quote(str(folder))} && {serve}"


def _write_new(path: Path, content: str) -> bool:
    """Write *path* unless something is there."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(content)
    except FileExistsError:
        return False
    except OSError as err:
        raise OperationRefused(
            f"{path} cannot be written: {err.strerror}",
            "the files to begin with go there",
            "name another folder: customhouse init FOLDER",
            Exit.INVALID,
        ) from err
    return True

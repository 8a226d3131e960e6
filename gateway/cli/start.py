"""customhouse init: the files to begin with."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from gateway.cli.invocation import FILE, Invocation, common
from gateway.domain.operator import Exit, OperationRefused, usage


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), required=False)
@common
def init(on: Invocation, folder: Path | None) -> None:
    """Write customhouse.toml and policies/ into FOLDER (default: here). Nothing is overwritten.

    With --config FILE the configuration is FILE, and the policies go beside it.
    """
    from gateway.cli.starter import files

    folder, settings = _places(on, folder)

    # A policy that is there is somebody's: a file of ours in it could change what it allows.
    kept_policy = (folder / "policies").exists()
    written: list[str] = []
    kept: list[str] = []
    contents = {settings if name == FILE else name: text for name, text in files().items()}
    for name, content in contents.items():
        is_theirs = kept_policy and name.startswith("policies/")
        done = not is_theirs and _write_new(folder / name, content)
        (written if done else kept).append(name)
    if on.screen.as_json:
        on.screen.value({"folder": str(folder), "written": written, "kept": kept})
        return
    for name in written:
        on.screen.line(f"wrote {folder / name}")
    for name in kept:
        on.screen.note(f"kept {folder / name}: it is there already")
    on.screen.note("keys/ and data/ will appear beside them; keep both out of version control")
    on.screen.note(f"next: {_next(folder, settings)}")


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

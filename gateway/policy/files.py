"""The files of a policy as bytes: read within bounds, named by one digest, kept for replay."""

from __future__ import annotations

import base64
import binascii
import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from gateway.policy.finding import Finding, PolicyInvalid, error

# Part of every version: the same files under other semantics are another policy.
ENGINE = "customhouse-policy@1"
MAX_FILE_BYTES = 32 * 1024 * 1024
MAX_TOTAL_BYTES = 64 * 1024 * 1024
MAX_FILES = 10_000

MODEL = "model.conf"
POLICY = "policy.csv"
CONDITIONS = "conditions.toml"
TENANTS = "tenants/"
CASES = "cases/"

Binding = tuple[str, str, str]  # agent, role, tenant: the columns of a `g` line


@dataclass(frozen=True, slots=True)
class PolicySource:
    """The bytes of each policy file by relative path, as they were at one moment."""

    files: Mapping[str, bytes]
    ignored: tuple[str, ...] = field(default=(), compare=False)  # found beside them, not policy

    def rule_files(self) -> tuple[str, ...]:
        """Paths of the rule files in the order in which rules are numbered."""
        tenants = sorted(path for path in self.files if path.startswith(TENANTS))
        return (POLICY, *tenants) if POLICY in self.files else tuple(tenants)

    def case_files(self) -> tuple[str, ...]:
        """Paths of the files of golden decisions, sorted."""
        return tuple(sorted(path for path in self.files if path.startswith(CASES)))


def read(folder: Path) -> PolicySource:
    """Read the policy files of *folder*; nothing outside it, nothing beyond the bounds.

    Raises: PolicyInvalid: no such folder, too large, unreadable, or a link that leads outside.
    """
    try:
        root = folder.resolve(strict=True)
        paths = sorted(_walk(root))
    except OSError as err:
        raise PolicyInvalid([_unreadable(str(folder), err)]) from err
    files: dict[str, bytes] = {}
    ignored: list[str] = []
    total_bytes = 0
    for path in paths:
        name = path.relative_to(root).as_posix()
        if path.is_dir():
            ignored.append(f"{name}/")
        elif _is_policy(name):
            files[name] = _read_one(root, path, name)
            total_bytes += len(files[name])
            _refuse_excess(len(files), total_bytes)
        elif name != "README.md":
            ignored.append(name)
    return PolicySource(files, tuple(ignored))


def bundle(source: PolicySource, bindings: Sequence[Binding]) -> bytes:
    """Everything a decision depends on, in canonical bytes whose SHA-256 is the version."""
    rows = sorted({tuple(binding) for binding in bindings})
    return _canonical({"bindings": rows, "engine": ENGINE, "files": _encoded(source.files)})


def unbundle(raw: bytes) -> tuple[PolicySource, tuple[Binding, ...]]:
    """Read what `bundle` wrote, to decide again as that version did.

    Raises: ValueError: not canonical, or made for another engine, whose answers may differ.
    """
    document = _parsed(raw, {"bindings", "engine", "files"})
    if document["engine"] != ENGINE:
        raise ValueError(f"made for engine {document['engine']!r}; this one is {ENGINE!r}")
    source = PolicySource(_decoded(document["files"]))
    bindings = tuple(_binding(row) for row in document["bindings"])
    if bundle(source, bindings) != raw:
        raise ValueError("policy bundle is not in canonical form")
    return source, bindings


def version(source: PolicySource, bindings: Sequence[Binding]) -> str:
    """SHA-256, in hex, of the files, the bindings and the engine that reads them."""
    return sha256(bundle(source, bindings)).hexdigest()


def _walk(root: Path) -> Iterator[Path]:
    """Entries of the folder and of its two known subfolders; hidden ones are not policy."""
    known = (root / TENANTS, root / CASES)
    for folder in (root, *known):
        if not folder.is_dir():
            continue
        if not folder.resolve(strict=True).is_relative_to(root):
            raise PermissionError(f"{folder.name}/ leads out of the policy folder")
        for path in folder.iterdir():
            if not path.name.startswith(".") and path not in known:
                yield path


def _is_policy(name: str) -> bool:
    return (
        name in {MODEL, POLICY, CONDITIONS}
        or (name.startswith(TENANTS) and name.endswith(".csv"))
        or (name.startswith(CASES) and name.endswith(".toml"))
    )


def _read_one(root: Path, path: Path, name: str) -> bytes:
    """Read one regular file whose real place is below *root*."""
    try:
        real = path.resolve(strict=True)
        if not real.is_relative_to(root):
            raise PermissionError("it leads out of the policy folder")
        # O_NOFOLLOW: swapped for a link since resolve(). O_NONBLOCK: a pipe must not hang us.
        handle = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as err:
        raise PolicyInvalid([_unreadable(name, err)]) from err
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise PolicyInvalid([_unreadable(name, OSError("it is not a regular file"))])
        try:
            raw = file.read(MAX_FILE_BYTES + 1)
        except OSError as err:
            raise PolicyInvalid([_unreadable(name, err)]) from err
    if len(raw) > MAX_FILE_BYTES:
        raise PolicyInvalid([_too_large(name, f"larger than {MAX_FILE_BYTES} bytes")])
    return raw


def _refuse_excess(count: int, total_bytes: int) -> None:
    if count > MAX_FILES:
        raise PolicyInvalid([_too_large(".", f"more than {MAX_FILES} policy files")])
    if total_bytes > MAX_TOTAL_BYTES:
        raise PolicyInvalid([_too_large(".", f"more than {MAX_TOTAL_BYTES} bytes of policy")])


def _unreadable(name: str, err: OSError) -> Finding:
    reason = err.strerror or str(err)
    return error(
        name,
        0,
        f"cannot be read: {reason}",
        "a policy that is read in part could miss its deny rules, so none of it is loaded",
        "give the gateway's user read access to a plain file inside the policy folder",
    )


def _too_large(name: str, what: str) -> Finding:
    return error(name, 0, what, "the bound protects the gateway's memory", "split or shorten it")


def _canonical(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode("ascii")


def _encoded(files: Mapping[str, bytes]) -> dict[str, str]:
    return {path: base64.b64encode(raw).decode("ascii") for path, raw in files.items()}


def _decoded(encoded: Any) -> dict[str, bytes]:
    if not isinstance(encoded, dict):
        raise ValueError("expected an object of files")  # noqa: TRY004 - a promise of unbundle
    try:
        return {path: base64.b64decode(text, validate=True) for path, text in encoded.items()}
    except (binascii.Error, TypeError) as err:
        raise ValueError("a file of the policy is not base64 text") from err


def _parsed(raw: bytes, keys: set[str]) -> dict[str, Any]:
    document = json.loads(raw)
    if not isinstance(document, dict) or set(document) != keys:
        raise ValueError(f"expected an object with the keys {sorted(keys)}")
    return document


def _binding(row: Any) -> Binding:
    if not isinstance(row, list) or len(row) != 3 or not all(isinstance(x, str) for x in row):
        raise ValueError("a binding is [agent, role, tenant]")
    return (row[0], row[1], row[2])


def differing(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> list[str]:
    """Names of files that are not the same in both."""
    names = sorted({*before, *after})
    return [name for name in names if before.get(name) != after.get(name)]

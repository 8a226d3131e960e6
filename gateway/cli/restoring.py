"""Writing the files of a policy back to its folder; what was there is copied aside first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from gateway.cli.replacing import PUBLIC, look, put
from gateway.domain.operator import Exit, OperationRefused
from gateway.policy import files
from gateway.policy.files import PolicySource, differing


@dataclass(frozen=True, slots=True)
class Folder:
    """The policy folder as it was when it was looked at."""

    path: Path
    files: Mapping[str, bytes]

    @classmethod
    def of(cls, path: Path) -> Folder:
        """Raises: PolicyInvalid: it is there and cannot be read."""
        return cls(path, files.read(path).files if path.is_dir() else {})

    def differs_from(self, source: PolicySource) -> list[str]:
        return differing(self.files, source.files)

    def write(self, source: PolicySource) -> Path:
        """Have exactly the policy files of *source* there; returns where those before are.

        Raises: OperationRefused: not all could be written.
        """
        names = [*source.files, *self.files]
        if not all(_is_below(name) for name in names):
            raise _unwritten(self.path, "a name leads out of the folder")
        backup = self.path.with_name(f"{self.path.name}.{_stamp()}.before-customhouse")
        try:
            backup.mkdir(mode=0o700)
            for name, content in self.files.items():
                put(look(backup / name, backup, PUBLIC), content)
            for name, content in source.files.items():
                put(look(self.path / name, self.path, PUBLIC), content)
            for name in self.files.keys() - source.files.keys():
                (self.path / name).unlink(missing_ok=True)
        except OSError as err:
            raise _unwritten(self.path, f"{type(err).__name__}: {err.strerror}") from err
        return backup


def _is_below(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and not any(part.startswith(".") for part in path.parts)


def _stamp() -> str:
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")


def _unwritten(folder: Path, why: str) -> OperationRefused:
    return OperationRefused(
        f"not all files were written to {folder}",
        f"{why}; the policy itself is in force, and the folder decides nothing",
        "as a user who may write there, say the same command again",
        Exit.INVALID,
    )

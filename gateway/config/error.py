"""What is wrong with the configuration, why it matters, and how to put it right."""

from __future__ import annotations


class ConfigError(Exception):
    """The house does not open with this configuration. Never contains a secret."""

    def __init__(self, what: str, why: str, fix: str, where: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.fix = fix
        self.where = where  # "customhouse.toml:12: servers.docs.url", as far as it is known

    def __str__(self) -> str:
        first = f"{self.where}: {self.what}" if self.where else self.what
        return f"{first}\n  why: {self.why}\n  fix: {self.fix}"

"""Every test gets a folder of its own."""

from tests.cli.fixtures import blank, home, quiet

__all__ = ["blank", "home", "quiet"]

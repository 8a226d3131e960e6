"""Operations are tested on the household of the command line, without the command line."""

from tests.cli.fixtures import blank, home, quiet

__all__ = ["blank", "home", "quiet"]

"""Operations are tested on the household of the command line, without the command line."""

from tests.cli.fixtures import blank, busy, busy_once, home, quiet, shelf, shelf_once

__all__ = ["blank", "busy", "busy_once", "home", "quiet", "shelf", "shelf_once"]

"""Every test gets a folder of its own."""

from tests.cli.fixtures import blank, busy, busy_once, home, person, quiet, shelf, shelf_once

__all__ = ["blank", "busy", "busy_once", "home", "person", "quiet", "shelf", "shelf_once"]

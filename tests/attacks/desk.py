"""Two functions for the gateway to serve."""

__all__ = ["echo", "pid"]


def echo(text: str) -> str:
    """Say *text* again."""
    return text


def pid() -> int:
    """The process this runs in."""
    import os

    return os.getpid()

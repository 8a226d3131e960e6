"""What a child says on stderr, on its way to the log: whole lines, bounded, escaped, no secrets."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from structlog.typing import FilteringBoundLogger

MAX_LINE_BYTES = 500
_HELD_BYTES = 2 * MAX_LINE_BYTES
MAX_LINES = 50  # per window
WINDOW_S = 10.0
_MIN_SECRET_CHARS = 6  # shorter values ("1", "true") are settings, and everywhere


class StderrLog:
    """One child's stderr. A flood costs neither memory nor log: what is too much is counted."""

    def __init__(
        self,
        server: str,
        secrets: Iterable[str],
        log: FilteringBoundLogger,
        monotonic: Callable[[], float],
    ) -> None:
        self._server = server
        parts = (part for secret in secrets for part in secret.splitlines())
        self._secrets = tuple(p.encode() for p in parts if len(p) >= _MIN_SECRET_CHARS)
        self._log = log
        self._monotonic = monotonic
        self.last = ""  # the newest line that was not blank, as the log would show it
        self._line = b""
        self._skipping = False  # the rest of a line that was cut
        self._window_began_s = monotonic()
        self._lines = 0
        self._suppressed = 0

    def feed(self, data: bytes) -> None:
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._finish(line)
        if not self._skipping:
            self._line += rest[:_HELD_BYTES]
            # More is held than is shown, so that a secret is never shown in part.
            if len(self._line) >= _HELD_BYTES:
                self._write()
                self._skipping = True

    def flush(self) -> None:
        """The child has ended: say what is left."""
        if self._line:
            self._write()
        if self._suppressed:
            self._report()

    def _finish(self, end: bytes) -> None:
        if not self._skipping:
            self._line += end[:_HELD_BYTES]
            if self._line.strip():
                self._write()
        self._line, self._skipping = b"", False

    def _write(self) -> None:
        line, self._line = self._line, b""
        for secret in self._secrets:
            line = line.replace(secret, b"[secret]")
        self.last = escape(line)
        now_s = self._monotonic()
        if now_s - self._window_began_s > WINDOW_S:
            if self._suppressed:
                self._report()
            self._window_began_s, self._lines = now_s, 0
        self._lines += 1
        if self._lines > MAX_LINES:
            self._suppressed += 1
            return
        self._log.info("upstream_stderr", server=self._server, line=self.last)

    def _report(self) -> None:
        self._log.warning("upstream_stderr_cut", server=self._server, lines=self._suppressed)
        self._suppressed = 0


def escape(line: bytes) -> str:
    """Printable ASCII: no line break, no terminal control, no invisible character gets through."""
    text = line[:MAX_LINE_BYTES].decode("utf-8", "backslashreplace").rstrip("\r")
    return text.encode("unicode_escape").decode("ascii")

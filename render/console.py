"""What people see while a command runs: a live line in a terminal, plain lines in a pipe, or nothing."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

PLAIN_SECONDS = 5.0  # between lines in a pipe
LIVE_SECONDS = 0.1


def warning_printer() -> Callable[..., None]:
    """A `warnings.showwarning` for the command line: one line, no source code, and each once."""
    shown: set[str] = set()

    def show(message: Warning | str, category: type, *rest: Any) -> None:
        if str(message) not in shown:
            shown.add(str(message))
            print(f"render: warning: {message}", file=sys.stderr)

    return show


class Console:
    """Prints facts as lines and progress in place. `quiet` prints nothing at all."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.live = not quiet and sys.stdout.isatty()
        self._status: Any = None
        self._printed = 0.0

    def say(self, text: str) -> None:
        """A line that stays."""
        if self._status is not None:
            self._status.console.print(text, highlight=False, markup=False, soft_wrap=True)
        elif not self.quiet:
            print(text, flush=True)

    @contextmanager
    def progress(self) -> Iterator[None]:
        """Within, `update` rewrites one line in a terminal."""
        self._printed = time.monotonic()
        if not self.live:
            yield
            return
        from rich.live import Live

        try:
            with Live("", refresh_per_second=4, transient=True) as self._status:
                yield
        finally:
            self._status = None

    def update(self, text: str) -> None:
        """The newest state: every time in a terminal, every few seconds in a pipe."""
        now = time.monotonic()
        if self._status is not None:
            if now - self._printed >= LIVE_SECONDS:
                self._printed = now
                from rich.text import Text

                self._status.update(Text(text))
        elif not self.quiet and now - self._printed >= PLAIN_SECONDS:
            self._printed = now
            print(text, flush=True)

    def count(self, what: str) -> Any:
        """A progress callback `(done, total)` that shows `what done/total`."""
        return lambda done, total, *rest: self.update(f"{what} {done}/{total}")


def duration(seconds: float | int) -> str:
    """12.3 s, 4 min 05 s, 2 h 03 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def count(number: float | int) -> str:
    """1234567 -> 1.23 M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {letter}"
    return f"{number:.3g} "

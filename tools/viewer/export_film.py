"""The film through a session's keys, rendered while the session waits: what a button starts."""

import threading
from collections.abc import Callable
from pathlib import Path

from render.film import write_film
from tools.viewer.session import Session


class FilmStopped(Exception):
    """Somebody asked for it to end; what is rendered is kept, and the next start goes on with it."""


class FilmExport:
    """One film under way, in a thread of its own.

    tell: called from that thread with the share that is done and a line about it; at the end with 1.0 and
    where the film is, or with None and what went wrong.
    """

    def __init__(
        self, session: Session, out: Path, width: int, height: int, tell: Callable[[float | None, str], None]
    ) -> None:
        """Raises: ValueError if there are no keys, or they make no film."""
        self.session, self.out, self.tell = session, out, tell
        self.cameras = session.keyframes.cameras(width, height)
        self.view, self.fps = session.view, session.keyframes.fps
        self._stop = threading.Event()
        self.thread = threading.Thread(target=self._run, name="film", daemon=True)

    def start(self) -> None:
        self.thread.start()

    def stop(self) -> None:
        """End it after the frame at hand."""
        self._stop.set()

    def _run(self) -> None:
        mode = "rgb" if self.view.mode == "error" else self.view.mode
        look = {"background": self.view.background, "crop": self.view.crop, "scale": self.view.scale}
        try:
            write_film(
                self.session.model, self.cameras, self.out,
                modes=(mode,), fps=self.fps, progress=self._progress, **look,
            )  # fmt: skip
        except FilmStopped:
            self.tell(None, "stopped; the next export goes on from here")
        except (OSError, RuntimeError, ValueError) as error:
            self.tell(None, str(error))
        else:
            self.tell(1.0, str(self.out))

    def _progress(self, done: int, total: int, left: float) -> None:
        if self._stop.is_set():
            raise FilmStopped
        self.tell(0.999 * done / total, f"frame {done} of {total}, {left:.0f} s left")

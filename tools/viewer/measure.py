"""How a session feels: pictures a second while it moves, how soon a movement shows, how soon it is whole."""

import statistics
import threading
import time
from typing import Any

from tools.viewer.session import Picture, Session

MOVES, STOPS, TOUCHES = 60, 7, 25
DRAG = 0.01  # heights of the picture, between two pictures
PATIENCE = 60.0  # seconds


def measure_session(session: Session) -> dict[str, Any]:
    """Drawn by a thread of its own, as in a window; without the window's own share, a few milliseconds.

    frames_per_second    while somebody drags all the time
    moving_size          width and height of these pictures
    still_seconds        from the last movement to the picture of full size, median
    first_pixel_seconds  from a movement, while the full picture is being drawn, to the first picture that
                         shows it, median
    """
    watcher = Watcher(session)
    watcher.wait_for(session.view, complete=True)
    began = time.perf_counter()
    for _ in range(MOVES):
        session.orbit(DRAG, 0.2 * DRAG)
        moving = watcher.wait_for(session.view)
    elapsed = time.perf_counter() - began
    stills, firsts = [], []
    for _ in range(STOPS):
        session.orbit(DRAG, 0.0)
        began = time.perf_counter()
        watcher.wait_for(session.view, complete=True)
        stills.append(time.perf_counter() - began)
    for touch in range(TOUCHES):
        session.orbit(DRAG, 0.0)
        watcher.wait_for(session.view)
        time.sleep(0.01 * (touch % 10))  # into the strips of the full picture
        began = time.perf_counter()
        session.orbit(DRAG, 0.0)
        watcher.wait_for(session.view)
        firsts.append(time.perf_counter() - began)
    watcher.close()
    return {
        "frames_per_second": MOVES / elapsed,
        "moving_size": [moving.camera.width, moving.camera.height],
        "size": [session.view.width, session.view.height],
        "still_seconds": statistics.median(stills),
        "first_pixel_seconds": statistics.median(firsts),
    }


class Watcher:
    """Draws for a session, and waits for its pictures."""

    def __init__(self, session: Session) -> None:
        self.session, self.newest = session, None
        self.shown = threading.Condition()
        self.thread = threading.Thread(target=session.run, args=(self._show,), daemon=True)
        self.thread.start()

    def _show(self, picture: Picture) -> None:
        with self.shown:
            self.newest = picture
            self.shown.notify_all()

    def wait_for(self, view: Any, complete: bool = False) -> Picture:
        """The first picture of a view, or its complete one. Raises: TimeoutError."""

        def there() -> bool:
            newest = self.newest
            return newest is not None and newest.view is view and (newest.complete or not complete)

        with self.shown:
            if not self.shown.wait_for(there, PATIENCE):
                raise TimeoutError(f"no picture in {PATIENCE:g} s")
            return self.newest

    def close(self) -> None:
        self.session.close()
        self.thread.join(PATIENCE)

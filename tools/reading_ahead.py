"""What a training's next step draws from is read while this one is computed, in threads.

What a step draws follows from the seed and the number of the step alone, so that threads may read ahead
without changing anything, and a resumed training needs no state of theirs.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

Begin = Callable[[ThreadPoolExecutor, int, int], list[Future]]


class ReadAhead:
    """The parts of every step, one step ahead.

    begin: hands the parts of a step, told by its seed and number, to the threads.
    """

    def __init__(self, begin: Begin, workers: int = 2) -> None:
        self._begin = begin
        self._ahead: tuple[tuple[int, int], list[Future]] | None = None
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="pictures")

    def at(self, seed: int, step: int) -> list[Any]:
        """The parts of a step. Those of the next one are begun. Raises: what reading them does."""
        found = [future.result() for future in self._begun(seed, step)]
        self._ahead = (seed, step + 1), self._begin(self._pool, seed, step + 1)
        return found

    def close(self) -> None:
        """Read no more."""
        self._pool.shutdown(cancel_futures=True)

    def _begun(self, seed: int, step: int) -> list[Future]:
        if self._ahead is not None:
            (stands, reading), self._ahead = self._ahead, None
            if stands == (seed, step):
                return reading
            for future in reading:
                future.cancel()
        return self._begin(self._pool, seed, step)

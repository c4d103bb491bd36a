"""What is read ahead is what would have been read."""

from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tools.reading_ahead import ReadAhead


@pytest.fixture
def asked() -> list[tuple[int, int]]:
    return []


@pytest.fixture
def ahead(asked):
    def begin(pool: ThreadPoolExecutor, seed: int, step: int) -> list[Future]:
        asked.append((seed, step))
        return [pool.submit(pow, 10 * seed + step, part) for part in (1, 2)]

    reading = ReadAhead(begin)
    yield reading
    reading.close()


def test_steps_in_any_order_have_their_own_parts(ahead):
    for seed, step in ((0, 0), (0, 1), (0, 2), (0, 7), (3, 8), (3, 9), (0, 0)):
        assert ahead.at(seed, step) == [10 * seed + step, (10 * seed + step) ** 2]


def test_the_next_step_is_begun_once(ahead, asked):
    ahead.at(4, 0)
    assert asked == [(4, 0), (4, 1)]
    ahead.at(4, 1)
    assert asked == [(4, 0), (4, 1), (4, 2)]
    ahead.at(4, 9)
    assert asked[3:] == [(4, 9), (4, 10)]

"""Captures larger than memory: what a training may take, and where its pictures are to lie."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenes import memory
from scenes.memory import MemoryBudgetError, Needs, parse_size, plan, size, with_room

GIB = 2**30


@pytest.mark.parametrize(
    ("text", "number"),
    [("8GB", 8e9), ("8g", 8e9), ("500 MB", 5e8), ("7.5GiB", 7.5 * GIB), ("64k", 64e3), ("123456", 123456)],
)
def test_a_size_is_what_its_unit_says(text, number):
    assert parse_size(text) == number


@pytest.mark.parametrize("text", ["", "soon", "8XB", "-1GB", "0", "0.1", "GB", "1e9", "8 G B"])
def test_what_is_no_size_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match=r"^'.*' is not a size of memory; write 8GB or 500MB$"):
        parse_size(text)


@given(st.integers(1000, 10**13))
def test_a_size_that_a_message_names_can_be_given(number):
    """It reads back as what it stands for, within its last digit."""
    assert parse_size(size(number)) == pytest.approx(number, rel=0.055)


def write_group(folder: Path, names: tuple[str, ...], values: tuple[object, ...]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{values[0]}\n")
    (folder / names[1]).write_text(f"{values[1]}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{names[2]} {values[2]}\n{names[3]} {values[3]}\n")


def test_every_group_above_the_process_bounds_it_and_pages_of_files_count_as_free(tmp_path):
    """A container's limit need not be that of the innermost group."""
    write_group(tmp_path / "a", memory.VERSION_2, (1000, 700, 30, 20))
    write_group(tmp_path / "a/b", memory.VERSION_2, ("max", 600, 30, 20))
    write_group(tmp_path / "a/b/c", memory.VERSION_2, (900, 650, 1, 2))
    assert list(memory.group_headroom(tmp_path, ["0::/a/b/c"])) == [253, 350]
    assert list(memory.group_headroom(tmp_path, ["0::/"])) == []
    unlimited = 2**63 - 4096
    write_group(tmp_path / "memory", memory.VERSION_1, (unlimited, 10, 3, 4))
    write_group(tmp_path / "memory/d", memory.VERSION_1, (500, 200, 3, 4))
    lines = ["5:cpu,cpuacct:/", "4:memory:/d", "0::/absent"]
    assert list(memory.group_headroom(tmp_path, lines)) == [307, unlimited - 3]
    # In a container the path can be the host's, while its own group is mounted as the root.
    assert list(memory.group_headroom(tmp_path, ["4:memory:/docker/0123"])) == [unlimited - 3]


def test_what_is_free_is_no_more_than_the_machine_has():
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < memory.free_memory() < total
    assert memory.budget_of(None).bytes <= 0.5 * total
    clipped = memory.budget_of(10 * total)
    assert clipped.bytes < total and "--memory asks for" in clipped.text


def test_a_plan_keeps_its_budget_and_uses_memory_where_it_can(disk):
    """Over many needs: within the budget, in a file only past it, as many workers as there is room for."""
    generator, files = np.random.default_rng(0), 0
    for _ in range(300):
        needs = Needs(*(int(10**x) for x in generator.uniform((5, 3, 3, 3), (8, 6, 6, 6))))
        budget, cores = int(10 ** generator.uniform(4, 7.5)), int(generator.integers(1, 65))
        try:
            found = plan(needs, budget, [disk], [], workers=cores)
        except MemoryBudgetError:
            assert needs.beside_pictures(1) > budget
            continue
        assert found.estimate <= budget and 1 <= found.workers <= cores
        assert (found.folder is None) == (needs.in_memory() <= budget)
        kept = needs.model + (needs.pictures if found.folder is None else 0)
        assert found.workers == cores or kept + (found.workers + 1) * needs.decoding > budget
        files += found.folder is not None
    assert 50 < files < 250, "or one side was not tried"


def test_a_plan_says_what_it_does_and_why(disk):
    needs = Needs(pictures=115_000_000, model=20_000_000, step=15_000_000, decoding=20_000_000)
    kept = plan(needs, 200_000_000, [disk], [], workers=3).text
    assert kept == (
        "memory: at least 0.20 GB: pictures 0.12 GB, model and optimiser 20 MB, work 60 MB; "
        "the budget is 0.20 GB (set by --memory)"
    )
    first, second = plan(needs, 50_000_000, [disk], [], workers=3).text.splitlines()
    assert first.startswith("memory: at least 40 MB: pictures 0.12 GB in a file, model and optimiser 20 MB")
    assert second.startswith(
        f"0.12 GB of pictures are more than it has room for: kept in a file in {disk}, which leaves "
    )
    assert "rays will wait" not in second, "the system can keep all of it"


def test_what_fits_nowhere_is_refused_with_what_would(disk):
    needs = Needs(10**18, 10**8, 10**8, 10**8)
    smaller = [(2, needs._replace(pictures=10**9)), (4, needs._replace(pictures=5 * 10**8))]
    wanted = (
        r"^1000000000\.0 GB of pictures fit neither in memory \(the training would take 1000000000\.2 GB, "
        r"the budget is 1\.0 GB \(set by --memory\)\) nor on a disk \(/dev/shm is memory itself; "
        rf"{disk} has [^;]* to be left alone\); --downscale 4 needs 0\.70 GB$"
    )
    with pytest.raises(MemoryBudgetError, match=wanted):
        plan(needs, 10**9, [Path("/dev/shm"), disk], smaller)
    with pytest.raises(
        MemoryBudgetError, match=r"^the training needs 0\.20 GB of memory beside its pictures"
    ):
        plan(needs, 10**8, [disk], smaller)


def test_a_file_system_in_memory_is_no_place_for_a_file(disk):
    """A file in /dev/shm would count as the process's memory again. Of what is absent the parent counts."""
    folder, found = with_room([Path("/dev/shm/absent"), disk / "runs/absent"], 1000)
    assert folder == disk and found == ["/dev/shm is memory itself"]

"""How much memory a training takes, and where its pictures lie when they would take too much of it.

Past a budget they lie in a file that is mapped into memory: the system keeps what there is room for, and
reads the rest when a ray asks for it. The file has no name, so that nothing is left of it however the process
ends. All of its room is reserved first: a disk that is found full under a mapping kills the process without a
word.

Sizes are in bytes, and shown in GB of 10^9. Needs the standard library only.
"""

import math
import mmap
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

SHARE = 0.5  # of the memory that is free: the budget, unless one is given
DISK_SPARE = 10**9  # what a file of pictures leaves free on its disk
FACTORS = (2, 4, 8, 16, 32)  # of --downscale that a refusal looks at
MEMORY_FILESYSTEMS = ("tmpfs", "ramfs", "devtmpfs", "hugetlbfs")  # a file there is memory too
CONTROL_GROUPS = Path("/sys/fs/cgroup")
# Of a control group: its limit, what it uses, and in memory.stat how much of that are pages of files.
VERSION_1 = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file", "total_active_file"
VERSION_2 = "memory.max", "memory.current", "inactive_file", "active_file"
UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
UNITS |= {"ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


class MemoryBudgetError(ValueError):
    """A training that finds room neither in memory nor on a disk; the message says what would."""


class Needs(NamedTuple):
    """Bytes that a training takes.

    pictures  as long as it lasts; may lie in a file
    model     parameters, gradients and optimiser, as long as it lasts
    step      what one step works in
    decoding  what one worker holds while it decodes the largest picture
    """

    pictures: int
    model: int
    step: int
    decoding: int

    def beside_pictures(self, workers: int) -> int:
        """The most that is held beside the pictures at any time."""
        return self.model + max(self.step, workers * self.decoding)

    def in_memory(self) -> int:
        """What is needed at least if the pictures lie in memory."""
        return self.pictures + self.beside_pictures(1)


class Budget(NamedTuple):
    """What a training may take.

    bytes   past this its pictures go to a file
    limit   and this, if it is more, all the rest must stay below
    free    what the machine has
    reason  why so much, for people
    """

    bytes: float | int
    limit: float | int
    free: float | int
    reason: str

    @property
    def text(self) -> str:
        return f"{size(self.bytes)} ({self.reason})"


@dataclass(frozen=True)
class Plan:
    """Where the pictures of a training go.

    folder   of the file that holds them; None: they lie in memory
    workers  that may decode at a time
    """

    needs: Needs
    budget: Budget
    folder: Path | None
    workers: int

    @property
    def estimate(self) -> int:
        """Bytes of memory at the height of the training; the pages of a file do not count."""
        pictures = self.needs.pictures if self.folder is None else 0
        return pictures + self.needs.beside_pictures(self.workers)

    @property
    def text(self) -> str:
        """What is taken and why, before anything is decoded: a line, or two where there is a file."""
        needs, in_file = self.needs, self.folder is not None
        work = needs.beside_pictures(self.workers) - needs.model
        text = (
            f"memory: at least {size(self.estimate)}: pictures {size(needs.pictures)}"
            f"{' in a file' if in_file else ''}, model and optimiser {size(needs.model)}, work {size(work)}; "
            f"the budget is {self.budget.text}"
        )
        if not in_file:
            return text
        left = shutil.disk_usage(self.folder).free - needs.pictures
        text += (
            f"\n{size(needs.pictures)} of pictures are more than it has room for: kept in a file in "
            f"{self.folder}, which leaves {size(left)} free there and vanishes with this process"
        )
        if needs.pictures + self.estimate > self.budget.free:
            text += f"; of memory {size(self.budget.free)} are free, so rays will wait for the disk"
        return text


def plan(
    needs: Needs,
    asked: float | int | None,
    places: Sequence[Path],
    smaller: Iterable[tuple[int, Needs]],
    workers: int | None = None,
) -> Plan:
    """Settle where pictures go, before one is decoded.

    asked: bytes for all of the training; None: half of what is free. places: folders for the file, the first
    that has room is taken. smaller: values of --downscale and the needs with them, for the message.
    workers: for decoding, at most; default one a core.
    Raises: MemoryBudgetError if it fits nowhere.
    """
    budget, least = budget_of(asked), needs.beside_pictures(1)
    if least > budget.limit:
        raise MemoryBudgetError(
            f"the training needs {size(least)} of memory beside its pictures and may take "
            f"{size(budget.limit)} ({budget.reason}); {_remedy(budget, smaller)}"
        )
    folder = None
    if needs.in_memory() > budget.bytes:
        folder, found = with_room(places, needs.pictures)
        if folder is None:
            raise MemoryBudgetError(
                f"{size(needs.pictures)} of pictures fit neither in memory (the training would take "
                f"{size(needs.in_memory())}, the budget is {budget.text}) nor on a disk "
                f"({'; '.join(found)}); {_remedy(budget, smaller)}"
            )
    kept = needs.model + (needs.pictures if folder is None else 0)
    fitting = min((budget.limit - kept) / max(needs.decoding, 1), workers or os.cpu_count() or 1)
    return Plan(needs, budget, folder, max(1, int(fitting)))


def budget_of(asked: float | int | None) -> Budget:
    """The budget that was asked for, or half of what is free; never more than is free."""
    free = free_memory()
    if free == math.inf and asked is None:
        return Budget(free, free, free, "how much is free cannot be told here; --memory sets it")
    if asked is None:
        reason = f"half of the {size(free)} that are free; --memory sets another"
        return Budget(free * SHARE, free, free, reason)
    if asked > free:
        return Budget(free, free, free, f"all that is free; --memory asks for {size(asked)}")
    return Budget(asked, asked, free, "set by --memory")


def _remedy(budget: Budget, smaller: Iterable[tuple[int, Needs]]) -> str:
    """What would fit, in numbers."""
    for factor, needs in smaller:
        if needs.in_memory() <= budget.bytes:
            return f"--downscale {factor} needs {size(needs.in_memory())}"
    return "choose a smaller model (--preset fast) or raise --memory"


def file_places(beside: Path | None) -> list[Path]:
    """Where a file of pictures may lie, best first: TMPDIR if it is set, beside the run, the system's own."""
    told = [Path(os.environ["TMPDIR"])] if os.environ.get("TMPDIR") else []
    near = [] if beside is None else [beside]
    return [*told, *near, Path(tempfile.gettempdir()), Path("/var/tmp")]


def with_room(places: Sequence[Path], wanted: int) -> tuple[Path | None, list[str]]:
    """The first folder on a disk with room for `wanted` bytes, or None; what was found in those before it."""
    found = []
    for place in (place.absolute() for place in places):
        folder = next(path for path in (place, *place.parents) if path.is_dir())
        free = shutil.disk_usage(folder).free
        if _is_memory(folder):
            found.append(f"{folder} is memory itself")
        elif not os.access(folder, os.W_OK):
            found.append(f"{folder} cannot be written")
        elif free < wanted + DISK_SPARE:
            found.append(f"{folder} has {size(free)} free, {size(DISK_SPARE)} of it to be left alone")
        else:
            return folder, found
    return None, list(dict.fromkeys(found))


def _is_memory(folder: Path) -> bool:
    """Whether files in the folder lie in memory: by the device that it is on."""
    device = folder.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}" if hasattr(os, "major") else ""
    for line in _lines(Path("/proc/self/mountinfo")):
        words = line.split()
        if words[2] == wanted:
            return words[words.index("-") + 1] in MEMORY_FILESYSTEMS
    return False


def mapped_file(folder: Path, length: int) -> mmap.mmap:
    """`length` zeros in a file without a name in `folder`, mapped, with their room on the disk reserved.

    Raises: MemoryBudgetError if the folder cannot be written, is too full, or its files cannot be mapped.
    """
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, length)
            else:
                for start in range(0, length, 2**20):
                    file.write(bytes(min(2**20, length - start)))
                file.flush()
            mapping = mmap.mmap(file.fileno(), length)  # the file stays for as long as this does
    except OSError as error:
        raise MemoryBudgetError(
            f"{folder}: {size(length)} of pictures cannot be kept in a file there ({error.strerror}); "
            "set TMPDIR to a folder on another disk"
        ) from error
    if hasattr(mmap, "MADV_RANDOM"):  # a ray wants one page, and not those behind it
        mapping.madvise(mmap.MADV_RANDOM)
    return mapping


def free_memory() -> float | int:
    """Bytes that this process may still take: of the machine's, or of its control group's; inf: unknown."""
    free: float | int = math.inf
    for line in _lines(Path("/proc/meminfo")):
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) * 1024
    if free == math.inf and hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")  # all that there is
    return max(0, min([free, *group_headroom(CONTROL_GROUPS, _lines(Path("/proc/self/cgroup")))]))


def group_headroom(root: Path, lines: Sequence[str]) -> Iterator[int]:
    """Bytes left in each control group that this process is in, of version 1 or 2.

    root: where the groups are mounted. lines: of /proc/self/cgroup. Pages of files count as free: the system
    takes them back before it ends a process.
    """
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number != "0" and "memory" not in controllers.split(","):
            continue
        top, files = (root, VERSION_2) if number == "0" else (root / "memory", VERSION_1)
        inside = top / path.strip("/")
        for folder in (inside, *inside.parents):
            limit, used = ("".join(_lines(folder / name)) for name in files[:2])
            if limit.isdigit() and used.isdigit():
                stat = dict(line.split() for line in _lines(folder / "memory.stat"))
                yield int(limit) - int(used) + sum(int(stat.get(name, 0)) for name in files[2:])
            if folder == top:
                break


def _lines(path: Path) -> list[str]:
    """A file of the system's, or nothing where there is none."""
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def parse_size(text: str) -> int:
    """`8GB`, `8G`, `500 MB`, `7.5GiB` -> bytes. Raises ValueError."""
    parts = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]i?|)b?", text.strip().lower())
    number = int(float(parts[1]) * UNITS[parts[2]]) if parts else 0
    if number < 1:
        raise ValueError(f"{text!r} is not a size of memory; write 8GB or 500MB")
    return number


def size(number: float | int) -> str:
    """11626875000 -> 11.6 GB, 640000000 -> 0.64 GB, 1200000 -> 1.2 MB."""
    if number == math.inf:
        return "unknown"
    return f"{number / 1e9:.{1 if number >= 1e9 else 2}f} GB" if number >= 0.1e9 else f"{number / 1e6:.3g} MB"

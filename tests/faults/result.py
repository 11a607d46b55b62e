"""A row of the fault suite, and the result of trying it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Protocol

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True)
class Result:
    """How often a fault was tried and how often everything held; seed is None if the fault draws nothing, note says what was lost or not tried."""

    tried: int
    held: int
    seed: int | None = None
    note: str = ""

    @property
    def lost(self) -> int:
        """Return in how many tries something did not hold."""
        return self.tried - self.held


class Fault(Protocol):
    """Inject one kind of fault `count` times, with random numbers from the seed, in an empty folder."""

    def __call__(self, folder: Path, count: int, seed: int) -> Result:
        """Return the result."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A fault with its number of tries and the minutes that these take on two cores; `make test` tries it `short` times (0: other tests do)."""

    title: str
    fault: Fault
    count: int
    minutes: float
    short: int = 0


def first_lost(failures: list[str]) -> str:
    """Return a note about the first tries in which something was lost, short enough for a table."""
    return "; ".join(failures)[:200].replace("|", "/").replace("\n", " ")


def try_each(count: int, seed: int | None, attempt: Callable[[int, Random], str]) -> Result:
    """Call `attempt` with the number of each try and its own random numbers; it returns what was lost, or "". An exception is a loss too."""
    failures = []
    for number in range(count):
        try:
            failure = attempt(number, Random(f"{seed}-{number}"))
        except Exception as error:  # noqa: BLE001 (whatever it is, the other tries follow)
            failure = f"{type(error).__name__}: {error}"
        failures += [f"try {number}: {failure}"] if failure else []
    return Result(tried=count, held=count - len(failures), seed=seed, note=first_lost(failures))

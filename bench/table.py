"""A figure and the table of them."""

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured thing: ours, beside a peer or limit of the same run, and the target of performance.md."""

    what: str
    ours: float | None
    unit: str
    target: str = ""
    peer: float | None = None
    peer_name: str = ""
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the figure with its ratio."""
        return asdict(self) | {"ratio": self.ratio}

    @property
    def ratio(self) -> float | None:
        """Return ours over the peer's."""
        return self.ours / self.peer if self.ours is not None and self.peer else None


def table(figures: list[Figure]) -> str:
    """Return a Markdown table."""
    lines = ["| | ours | beside it | ratio | target | |", "|---|---:|---:|---:|---|---|"]
    for figure in figures:
        ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
        peer = "" if figure.peer is None else f"{_number(figure.peer)} {figure.unit} ({figure.peer_name})"
        ours = "not measured" if figure.ours is None else f"{_number(figure.ours)} {figure.unit}"
        lines.append(f"| {figure.what} | {ours} | {peer} | {ratio} | {figure.target} | {figure.note} |")
    return "\n".join(lines)


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def median_s(action: Callable[[], object], repeats: int) -> float:
    """Return the median of the seconds that an action takes."""
    took = []
    for _ in range(repeats):
        began = time.perf_counter()
        action()
        took.append(time.perf_counter() - began)
    return statistics.median(took)

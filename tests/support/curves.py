"""The loss curve of a progress.jsonl."""

from pathlib import Path

from fluxgym.runs.progress import lines_in


def read_curve(path: Path) -> list[tuple[int, float]]:
    """Return (step, loss) in the order of steps; of a repeated step the last loss counts."""
    with path.open("rb") as file:
        return sorted({line["step"]: float(line["loss"]) for line in lines_in(file) if "step" in line and "loss" in line}.items())

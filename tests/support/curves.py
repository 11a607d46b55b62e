"""The loss curve of a progress.jsonl."""

from pathlib import Path

from fluxgym.runs.progress import losses_in


def read_curve(path: Path) -> list[tuple[int, float]]:
    """Return (step, loss) in the order of steps; of a repeated step the last loss counts."""
    with path.open("rb") as file:
        return sorted(dict(losses_in(file)).items())

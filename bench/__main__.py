"""`make bench`: measures the app, each figure beside a peer or limit of the same run, and writes the tables to bench/results/.

`python -m bench app|sessions|load|launcher|queue|trainer|loss|same_loss|gpu` runs one part. Without a GPU the part `gpu` leaves its figures empty
and prints the reason.
`python -m bench first_day` runs bench/first_day.py, which runs on request only.
`python -m bench compare_versions OLD NEW` compares two checkouts of the trainer to the bit.
"""

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path

from bench import app, compare_versions, first_day, launcher, load, loss_curve, queue, same_loss, sessions, trainer, trainer_gpu
from bench.table import table

RESULTS = Path(__file__).parent / "results"
PARTS = {
    "app": app.measure,
    "sessions": sessions.measure,
    "load": load.measure,
    "launcher": launcher.measure,
    "queue": queue.measure,
    "trainer": trainer.measure,
    "loss": loss_curve.measure,
    "same_loss": same_loss.measure,
    "gpu": trainer_gpu.measure,
}
ON_REQUEST = {"first_day": first_day.measure}


def main() -> int:
    """Run the parts that are asked for; returns 0, or the exit code of compare_versions."""
    if sys.argv[1:2] == ["compare_versions"]:
        return compare_versions.main(sys.argv[2:])
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument(
        "parts", nargs="*", choices=[*PARTS, *ON_REQUEST, []], default=list(PARTS), metavar="PART", help=", ".join(PARTS | ON_REQUEST)
    )
    parser.add_argument("--repeats", type=int, default=5, help="number of repeats; the median is reported")
    args = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    for name in args.parts or PARTS:
        figures = (PARTS | ON_REQUEST)[name](args.repeats)
        text = f"# {name}\n\n{table(figures)}\n{_machine()}\n"
        print(text, flush=True)
        (RESULTS / f"{name}.md").write_text(text, encoding="utf-8")
        (RESULTS / f"{name}.json").write_text(json.dumps([figure.to_json() for figure in figures], indent=2) + "\n", encoding="utf-8")
    return 0


def _machine() -> str:
    load = os.getloadavg()[0]
    gpu = "an NVIDIA GPU" if Path("/proc/driver/nvidia/gpus").exists() else "no GPU"
    return f"On {os.cpu_count()} cores, {gpu}, {platform.system()}, Python {platform.python_version()}, load {load:.1f}, {time.strftime('%Y-%m-%d')}."


if __name__ == "__main__":
    sys.exit(main())

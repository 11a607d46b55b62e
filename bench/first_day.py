"""The first minutes on a GPU: what fails, what differs from the prediction, and what is slow, before its results are used.

`python bench/first_day.py [STAGE ...]` or `python -m bench first_day`. Each stage has a separate process and time limit, so that no failure
hides the next. Results go to $OUT (default: bench/results/first_day) as JSON lines in first_day.jsonl and as a table in first_day.md; models and
runs go to a temporary folder. All stages together need at most 20 minutes; for a limit of 10 minutes per command run them in three parts: facts to steps,
tiers and compile, optimizers and trainer. Without a GPU the stages run tiny shapes on the CPU, which tests this program and measures nothing.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from bench.table import Figure  # noqa: E402

STAGES = {  # name: seconds; first what breaks everything, then what is wrong, then what is slow
    "facts": 40, "memory_calls": 60, "fp8_forms": 60, "gpu_tests": 120, "micro": 90, "steps": 150, "tiers": 240, "compile": 200,
    "optimizers": 40, "trainer": 180,
}  # fmt: skip
RECORDS, TABLE = "first_day.jsonl", "first_day.md"
Record = dict[str, object]


def run(stages: list[str], out: Path) -> list[Record]:
    """Run stages in their order, print and append their records to `out`, and write the table; returns the records of this call."""
    out.mkdir(parents=True, exist_ok=True)
    found: list[Record] = []
    with tempfile.TemporaryDirectory() as work:
        for stage in stages:
            began = time.monotonic()
            records = _run_stage(stage, STAGES[stage], Path(work))
            records.append({"stage": stage, "what": "wall clock", "found": {"s": round(time.monotonic() - began, 1)}})
            with (out / RECORDS).open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(record) + "\n" for record in records)
            print("\n".join(map(json.dumps, records)), flush=True)
            found += records
    every = [json.loads(line) for line in (out / RECORDS).read_text(encoding="utf-8").splitlines()]
    (out / TABLE).write_text(table(every), encoding="utf-8")
    return found


def _run_stage(stage: str, limit_s: float, work: Path) -> list[Record]:
    """Run one stage in a process group of its own; what it printed before a failure or the limit is kept."""
    path = os.pathsep.join([str(ROOT / "sd-scripts"), str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    with (work / f"{stage}.out").open("w+") as stdout, (work / f"{stage}.err").open("w+") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.first_day_stages", stage, str(work)],
            cwd=ROOT, stdout=stdout, stderr=stderr, env=os.environ | {"PYTHONPATH": path}, start_new_session=True,
        )  # fmt: skip
        try:
            failure = process.wait(limit_s) and f"ended with {process.returncode}"
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            failure = f"took longer than {limit_s:g} s"
        stdout.seek(0)
        stderr.seek(0)
        records = [json.loads(line) for line in stdout if line.startswith('{"stage"')]
        if failure:
            last = (stderr.read().strip().splitlines() or ["no message"])[-1][:300]
            records.append({"stage": stage, "what": "the stage", "error": f"{failure}: {last}"})
    return records


def table(records: list[Record]) -> str:
    """Return the records as a Markdown table."""
    lines = ["| stage | what | result | predicted |", "|---|---|---|---|"]
    for record in records:
        result = f"failed: {record['error']}" if "error" in record else _text(record.get("found"))
        cells = (str(record["stage"]), str(record["what"]), result, _text(record.get("predicted")))
        lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(each)}" for key, each in value.items() if each is not None)
    if isinstance(value, float):
        return f"{value:.3g}"
    return "" if value is None else str(value)


def measure(_repeats: int) -> list[Figure]:
    """Run every stage; returns the seconds of each record that has some, as `python -m bench` shows them."""
    figures = []
    for record in run(list(STAGES), default_folder()):
        found = record.get("found")
        seconds = found.get("s") if isinstance(found, dict) else None
        if seconds is not None or "error" in record:
            figures.append(Figure(what=f"{record['stage']}: {record['what']}", ours=seconds, unit="s", note=str(record.get("error", ""))))
    return figures


def default_folder() -> Path:
    """Return $OUT, or bench/results/first_day."""
    return Path(os.environ.get("OUT") or ROOT / "bench" / "results" / "first_day")


def main() -> int:
    """Run the stages that are asked for; returns 1 if a stage or one of its checks failed."""
    parser = argparse.ArgumentParser(prog="python bench/first_day.py", description=__doc__)
    parser.add_argument("stages", nargs="*", choices=[*STAGES, []], default=list(STAGES), metavar="STAGE", help=", ".join(STAGES))
    args = parser.parse_args()
    records = run(args.stages or list(STAGES), default_folder())
    return int(any("error" in record for record in records))


if __name__ == "__main__":
    sys.exit(main())

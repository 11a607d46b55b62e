"""The trainer on the standard work "mini": seconds per step, peak memory, start to first step; beside the machine's limit, and kohya's trainer.

`KOHYA=DIR make bench ARGS=trainer` measures a checkout of kohya-ss/sd-scripts on the same files with the same flags, by the Python of its own venv/
(see docs/kohya-checkout.md). Both are run as users run them, 1,280 steps long, and are ended after a few; rounds take turns.
"""

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from bench import limits, mini
from bench.table import Figure

STEPS, WARM_UP = 7, 2
DEADLINE_S = 1800
POLL_S = 0.005
SHIM = Path(__file__).parent / "kohya_peer" / "run.py"


@dataclass
class Runs:
    """What the rounds of one trainer gave: seconds of the steps after warm-up, seconds from start to the first step's end, peak bytes."""

    steps_s: list[float] = field(default_factory=list)
    first_step_s: list[float] = field(default_factory=list)
    peak_bytes: list[int] = field(default_factory=list)


def measure(repeats: int) -> list[Figure]:
    """Measure `repeats` rounds of both trainers after one round each that fills the caches."""
    kohya = os.environ.get("KOHYA")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        mini.write(folder)
        commands = {"ours": [sys.executable, str(mini.TRAINER)]}
        if kohya:
            commands["kohya"] = [str(python_of(Path(kohya))), str(SHIM), str(Path(kohya).resolve())]
        runs = {who: Runs() for who in commands}
        for who, command in commands.items():
            _round(who, command, folder, 1)
        machine = limits.measure()
        for _ in range(repeats):
            for who, command in commands.items():
                _add(runs[who], *_round(who, command, folder, STEPS))
    return _figures(runs, machine)


def python_of(checkout: Path) -> Path:
    """Return the Python of a checkout's own environment, else ours."""
    python = next((checkout / venv / "bin" / "python" for venv in (".venv", "venv") if (checkout / venv / "bin" / "python").exists()), None)
    return python or Path(sys.executable)


def _round(who: str, command: list[str], folder: Path, num_steps: int) -> tuple[list[float], int]:
    """Run a trainer until it has made so many steps; returns when each ended, in seconds after the start, and the peak resident bytes.

    Raises:
        RuntimeError: With the end of its output when it ends by itself before that.
    """
    with tempfile.TemporaryDirectory() as out:
        log = Path(out) / "log"
        environment = os.environ | {"TQDM_MININTERVAL": "0", "PYTHONUNBUFFERED": "1", "TOKENIZERS_PARALLELISM": "false"}
        with log.open("wb") as output:
            began = time.perf_counter()
            argv = [*command, *mini.flags(folder, Path(out))]
            process = subprocess.Popen(argv, stdout=output, stderr=output, env=environment, start_new_session=True)
        ends: list[float] = []
        try:
            while len(ends) < num_steps:
                if process.poll() is not None or time.perf_counter() - began > DEADLINE_S:
                    raise RuntimeError(f"{who} made only {len(ends)} steps:\n{log.read_text(errors='replace')[-2000:]}")
                seen = _steps_in(who, Path(out), log)
                ends += [time.perf_counter() - began] * max(0, seen - len(ends))
                time.sleep(POLL_S)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        _, _, usage = os.wait4(process.pid, 0)
        return ends, usage.ru_maxrss * 1024


def _steps_in(who: str, out: Path, log: Path) -> int:
    """Return how many steps a trainer says it has made: ours by progress.jsonl, kohya by its bar."""
    if who == "ours":
        progress = out / "progress.jsonl"
        return progress.read_text(encoding="utf-8").count('"loss"') if progress.exists() else 0
    bars = [line for line in log.read_bytes().split(b"\r") if line.startswith(b"steps:") and b"avr_loss" in line]
    return int(bars[-1].split(b"|")[2].split(b"/")[0]) if bars else 0


def _add(runs: Runs, ends: list[float], peak_bytes: int) -> None:
    runs.first_step_s.append(ends[0])
    runs.steps_s += [after - before for before, after in zip(ends[WARM_UP - 1 :], ends[WARM_UP:], strict=False)]
    runs.peak_bytes.append(peak_bytes)


def _figures(runs: dict[str, Runs], machine: dict[str, float]) -> list[Figure]:
    step = statistics.median(runs["ours"].steps_s)
    limit_s = machine["flop"] / machine["rate"]
    counted = f"{machine['flop'] / 1e12:.2f} TFLOP at {machine['rate'] / 1e12:.2f} TFLOP/s"
    return [
        *_beside_kohya(runs),
        Figure(what="s/step beside the limit", ours=step, unit="s", target="<= 2", peer=limit_s, peer_name=f"limit: {counted}"),
        Figure(
            what="the same, nothing recomputed", ours=step, unit="s", peer=machine["flop_kept"] / machine["rate"],
            peer_name=f"{machine['flop_kept'] / 1e12:.2f} TFLOP",
        ),
    ]  # fmt: skip


def _beside_kohya(runs: dict[str, Runs]) -> list[Figure]:
    """Return ours beside kohya's; without a checkout the peer's column stays empty and says why."""
    kohya, note = runs.get("kohya"), "" if "kohya" in runs else "kohya not measured: KOHYA= names no checkout"
    rows = [
        ("s/step", "s", "<= 0.38", lambda run: statistics.median(run.steps_s)),
        ("peak RSS", "MB", "<= 0.70", lambda run: max(run.peak_bytes) / 1e6),
        ("start to the end of the first step", "s", "<= 0.50", lambda run: statistics.median(run.first_step_s)),
    ]
    return [
        Figure(
            what=what,
            ours=figure(runs["ours"]),
            unit=unit,
            target=target,
            peer=figure(kohya) if kohya else None,
            peer_name="kohya",
            note=note,
        )
        for what, unit, target, figure in rows
    ]

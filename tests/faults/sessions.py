"""Faults of sessions: starts at the same moment, processes that are killed and frozen in any order, and healthy trainings that look stalled."""

import json
import os
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fluxgym.errors import FluxGymError
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.sessions.control import wait_until_ended
from fluxgym.sessions.start import StartRequest, start
from fluxgym.supervisor import stall
from tests.faults.modules import run_pytest
from tests.faults.result import Result, first_lost, try_each
from tests.support.photos import write_cats
from tests.support.small_installation import small_installation, state

AT_ONCE = 50
REFUSALS = {"NameTaken", "AlreadyRunning"}


def parallel_starts(folder: Path, count: int, seed: int) -> Result:
    """Start one name from many threads at the same moment: one training begins, all others get a sentence."""
    world = small_installation(folder)
    images = write_cats(folder / "images", count=1, size=64)

    def begin(name: str) -> str:
        try:
            start(StartRequest(state=state(lora_name=name), images=images), world)
        except FluxGymError as error:
            return type(error).__name__
        return "started"

    def attempt(number: int, _: random.Random) -> str:
        name = f"run-{number}"
        with ThreadPoolExecutor(AT_ONCE) as pool:
            ends = list(pool.map(begin, [name] * AT_ONCE))
        run = OutputsPaths(world.outputs).run(name)
        wait_until_ended(run)
        attempts = run.training_log.read_text().count("== attempt")
        is_single = ends.count("started") == attempts == 1 and set(ends) <= {"started"} | REFUSALS
        return "" if is_single else f"{ends.count('started')} starts, {attempts} attempts, {set(ends)}"

    return try_each(count, None, attempt)


def model_of_truth(folder: Path, count: int, seed: int) -> Result:
    """Run the state machine that holds the list to a model of the truth; each example is up to 20 actions on two runs."""
    done = run_pytest("-x", "tests/integration/test_truth.py", FLUXGYM_EXAMPLES=str(count))
    if done.returncode == 0:
        return Result(tried=count, held=count)
    lines = [line for line in done.stdout.splitlines() if line.startswith("E ")]  # hypothesis ends at the first example that fails
    return Result(tried=1, held=0, note=first_lost(lines or [done.stdout[-200:]]))


class _Clock:
    """Stands in for the time module of the stall watch."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        """Return the simulated seconds."""
        return self.now


def healthy_phases(folder: Path, count: int, seed: int) -> Result:
    """Play healthy trainings of every speed to the stall watch, with slow starts, hiccups and machines that sleep: none is called stalled."""
    real = stall.time

    def attempt(number: int, dice: random.Random) -> str:
        run, clock = RunPaths(folder / f"healthy-{number % 50}"), _Clock()
        run.private.mkdir(parents=True, exist_ok=True)
        run.progress.unlink(missing_ok=True)
        stall.time = clock  # type: ignore[assignment]
        try:
            watch = stall.StallWatch(run, os.getpid())
            phases = ("loading", "caching", "training", "sampling", "saving")
            stalled = [phase for phase in phases if _play(run, watch, clock, dice, phase)]
        finally:
            stall.time = real
        return f"called stalled while {stalled[0]}" if stalled else ""

    return try_each(count, seed, attempt)


def _play(run: RunPaths, watch: stall.StallWatch, clock: _Clock, dice: random.Random, phase: str) -> bool:
    """Play one phase; return True if it was reported as stalled."""
    steady = 10 ** dice.uniform(-1, 2)
    _report(run, clock, phase, 0)  # every phase is announced when it begins
    for step in range(6):
        gap = min(steady * (dice.uniform(5, 15) if dice.random() < 0.1 and step > 3 else dice.uniform(0.7, 1.4)), 1500.0)
        if step == 0:
            gap = dice.uniform(0, 900)  # compiling, reading a slow disk
        until = clock.now + gap
        while clock.now < until:
            clock.now += min(max(gap / 40, 0.25), 1.9)
            if watch.check() is not None:
                return True
        if dice.random() < 0.02:
            clock.now += 36_000  # the machine slept
        _report(run, clock, phase, step)
        if watch.check() is not None:
            return True
    return False


def _report(run: RunPaths, clock: _Clock, phase: str, step: int) -> None:
    with run.progress.open("a") as file:
        file.write(json.dumps({"time": clock.now, "attempt": 1, "phase": phase, "step": step, "total_steps": 6}) + "\n")

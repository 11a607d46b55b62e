"""Faults against the truth of sessions: reused PIDs, reboots, escaping children, parallel starts, damaged states, jumping clocks, healthy phases."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from fluxgym.contract.codes import LIVE
from fluxgym.errors import FluxGymError
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.process_identity import start_ticks
from fluxgym.runs.state import read_state
from fluxgym.sessions.control import wait_until_ended
from fluxgym.sessions.index import SessionIndex
from fluxgym.sessions.listing import list_sessions
from fluxgym.sessions.start import StartRequest, start
from fluxgym.supervisor import stall
from tests.support.photos import write_cats
from tests.support.runs import launch, make_run
from tests.support.small_world import small_world, state

ROOT = Path(__file__).parents[2]
NAMESPACE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of trying a fault: how often it was tried, how often the truth held, or why it could not be tried."""

    tried: int
    held: int
    note: str = ""


def may_make_namespaces() -> bool:
    """Return True if this machine lets us make a PID namespace of our own."""
    try:
        return subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _in_namespace(program: str, folder: Path, count: int) -> subprocess.CompletedProcess[str]:
    argv = [*NAMESPACE, sys.executable, "-m", f"tests.faults.{program}", str(folder), str(count)]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)


def reused_pids(folder: Path, count: int) -> Result:
    """Give the PIDs of dead trainers to others: none is shown as running, none is signaled."""
    return _in_own_namespace("reuse", folder, count)


def reused_groups(folder: Path, count: int) -> Result:
    """Give the PIDs of dead trainers to leaders of other groups while daemons of the trainers are being ended: none is signaled."""
    return _in_own_namespace("group_reuse", folder, count)


def _in_own_namespace(program: str, folder: Path, count: int) -> Result:
    """Run a program that prints how often it tried and how often the truth held."""
    if not may_make_namespaces():
        return Result(tried=0, held=0, note="PID namespaces are not allowed here")
    done = _in_namespace(program, folder, count)
    try:
        tried, held = map(int, done.stdout.split()[-2:])
    except ValueError:
        return Result(tried=1, held=0, note=done.stderr.strip()[-200:])
    return Result(tried=tried, held=held)


def reboots(folder: Path, count: int) -> Result:
    """Tear down the whole PID namespace of a running training: it is shown as stopped, with the reason."""
    if not may_make_namespaces():
        return Result(tried=0, held=0, note="PID namespaces are not allowed here")
    held = 0
    for number in range(count):
        outputs = folder / f"boot-{number}"
        done = _in_namespace("boot", outputs, 1)
        rows = [(str(session.status), session.reason_code, "restarted" in session.reason) for session in list_sessions(outputs)]
        held += done.returncode == 0 and rows == [("stopped", "interrupted", True)]
        shutil.rmtree(outputs, ignore_errors=True)
    return Result(tried=count, held=held)


ESCAPE = """
import random, subprocess
random.seed({seed})
keep = "import os, signal, time; [signal.signal(n, signal.SIG_IGN) for n in (1, 2, 15)]; open({mark!r} + str(os.getpid()), 'w'); time.sleep(120)"
for number in range({children}):
    if os.fork() == 0:
        if random.random() < 0.7: os.setsid()
        subprocess.Popen([sys.executable, "-c", keep], env=None if random.random() < 0.5 else {{}}, start_new_session=random.random() < 0.5)
        os._exit(0)
while len([1 for name in os.listdir(os.path.dirname({mark!r})) if name.startswith("pid-")]) < {children}: time.sleep(0.02)
{end}
"""
ENDS = (
    "progress(4); lora()", "sys.exit(3)", "os.kill(os.getpid(), 9)",
    "signal.signal(signal.SIGTERM, signal.SIG_IGN); open(folder + '/ready', 'w'); time.sleep(120)",
)  # fmt: skip


def escaping_children(folder: Path, count: int) -> Result:
    """Let a trainer leave daemons behind in sessions of their own, deaf to signals and without our environment: none survives its end."""

    from fluxgym.engines.registry import engine_of

    held = 0
    for number in range(count):
        outputs = folder / f"escape-{number}"
        outputs.mkdir(parents=True)
        run, end = make_run(outputs), ENDS[number % len(ENDS)]
        launch(run, ESCAPE.format(seed=number, mark=str(outputs / "pid-"), children=2, end=end))
        if "ready" in end:
            _wait(lambda run=run: (run.folder / "ready").exists())
            engine_of(run).cancel(run, grace_s=0.2)
        wait_until_ended(run)
        pids = [int(path.name.removeprefix("pid-")) for path in outputs.glob("pid-*")]
        alive = [pid for pid in pids if start_ticks(pid) is not None]
        held += len(pids) == 2 and not alive
        for pid in alive:
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(outputs, ignore_errors=True)
    return Result(tried=count, held=held)


def parallel_starts(folder: Path, count: int, at_once: int = 50) -> Result:
    """Start one name from many threads at the same moment: one training begins, all others get a sentence."""
    world = small_world(folder)
    images = write_cats(folder / "images", count=1, size=64)
    held = 0
    for number in range(count):
        name = f"run-{number}"

        def begin(_: int, name: str = name) -> str:
            try:
                start(StartRequest(state=state(lora_name=name), images=images), world)
            except FluxGymError as error:
                return type(error).__name__
            return "started"

        with ThreadPoolExecutor(at_once) as pool:
            ends = list(pool.map(begin, range(at_once)))
        run = OutputsPaths(world.outputs).run(name)
        wait_until_ended(run)
        log = run.training_log.read_text()
        held += ends.count("started") == 1 and set(ends) <= {"started", "NameTaken", "AlreadyRunning"} and log.count("== attempt") == 1
    return Result(tried=count, held=held)


def damaged_states(folder: Path, count: int) -> Result:
    """Cut, flip and swap bytes of states: nothing breaks off, and a good session beside them is always listed."""
    outputs = folder / "damaged"
    good, bad = make_run(outputs, "good", status="stopped"), make_run(outputs, "bad", status="stopped", advanced={"train_batch_size": 2})
    whole, dice, index, held = bad.ui_state.read_bytes(), random.Random(0), SessionIndex(outputs), 0
    for _ in range(count):
        bad.ui_state.write_bytes(_mutated(whole, dice))
        rows = {session.slug: str(session.status) for session in list_sessions(outputs)}
        shown = {entry.slug: str(entry.status) for entry in index.entries()}
        held += rows.get(good.slug) == "stopped" and set(rows) == {"good", "bad"} and rows == shown
    return Result(tried=count, held=held)


def _mutated(whole: bytes, dice: random.Random) -> bytes:
    data = bytearray(whole)
    for _ in range(dice.randint(1, 6)):
        kind, position = dice.randrange(6), dice.randrange(max(1, len(data)))
        if kind == 0:
            del data[position:]
        elif kind == 1 and data:
            data[position % len(data)] = dice.randrange(256)
        elif kind == 2:
            data[position:position] = dice.choice([b"null", b"[[[", b"1e999", b"-0", b'"', b"\xff\xfe", b"\0", b"NaN", b"{}", b"9" * 400])
        elif kind == 3:
            del data[position : position + dice.randrange(30)]
        elif kind == 4:
            data = bytearray(dice.choice([b"", b"[]", b"3", b'"x"', b"\xef\xbb\xbf" + whole, whole.decode().encode("utf-16"), whole * 2]))
        else:
            data = data.replace(
                dice.choice([b"stopped", b'"cat"', b"1", b"timestamp"]), dice.choice([b"running", b"[]", b"null", b"{}", b"-1"])
            )
    return bytes(data)


class _Clock:
    """Stands in for the time module of the stall watch."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        """Return the simulated seconds."""
        return self.now


def healthy_phases(folder: Path, count: int) -> Result:
    """Play healthy trainings of every speed to the stall watch, with slow starts, hiccups and machines that sleep: none is called stalled."""
    dice, held, real = random.Random(1), 0, stall.time
    for number in range(count):
        run, clock = RunPaths(folder / f"healthy-{number % 50}"), _Clock()
        run.private.mkdir(parents=True, exist_ok=True)
        run.progress.unlink(missing_ok=True)
        stall.time = clock  # type: ignore[assignment]
        try:
            watch = stall.StallWatch(run, os.getpid())
            held += not any(_play(run, watch, clock, dice, phase) for phase in ("loading", "caching", "training", "sampling", "saving"))
        finally:
            stall.time = real
    return Result(tried=count, held=held)


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


def killed_writes(folder: Path, count: int) -> Result:
    """Kill -9 a process at a random moment while it writes a state over and over: the file is always whole."""
    run = make_run(folder / "writes", status="stopped")
    program = (
        "import sys; from pathlib import Path; from fluxgym.runs.paths import RunPaths; from fluxgym.runs.state import update_state\n"
        "run, number = RunPaths(Path(sys.argv[1])), 0\nprint('on', flush=True)\n"
        "while True:\n    number += 1; update_state(run, {'number': number, 'padding': 'x' * (number % 5000)})"
    )
    dice, held = random.Random(2), 0
    for _ in range(count):
        child = subprocess.Popen([sys.executable, "-c", program, str(run.folder)], cwd=ROOT, stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(dice.uniform(0, 0.03))  # the moment is the fault
        child.kill()
        child.wait()
        child.stdout.close()
        held += read_state(run)["lora_name"] == "cat" and all(session.status not in LIVE for session in list_sessions(folder / "writes"))
    return Result(tried=count, held=held)


def _wait(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)

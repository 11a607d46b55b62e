"""Faults of processes: reused PIDs and process groups, restarts of the machine, and children that escape their trainer."""

import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from fluxgym.engines.registry import engine_of
from fluxgym.runs.process_identity import start_ticks
from fluxgym.sessions.control import wait_until_ended
from fluxgym.sessions.listing import list_sessions
from tests.faults.result import ROOT, Result, first_lost, try_each
from tests.support.runs import launch, make_run, wait_for

NAMESPACE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
NOT_ALLOWED = Result(tried=0, held=0, note="PID namespaces are not allowed here")


def may_make_namespaces() -> bool:
    """Return True if this machine lets us make a PID namespace of our own."""
    try:
        return subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _in_namespace(program: str, folder: Path, count: int) -> subprocess.CompletedProcess[str]:
    argv = [*NAMESPACE, sys.executable, "-m", f"tests.faults.{program}", str(folder), str(count)]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)


def reused_pids(folder: Path, count: int, seed: int) -> Result:
    """Give the PIDs of dead trainers to others: none is shown as running, none is signaled."""
    return _in_own_namespace("reuse", folder, count)


def reused_groups(folder: Path, count: int, seed: int) -> Result:
    """Give the PIDs of dead trainers to leaders of other groups while daemons of the trainers are being ended: none is signaled."""
    return _in_own_namespace("group_reuse", folder, count)


def _in_own_namespace(program: str, folder: Path, count: int) -> Result:
    return read_counts(_in_namespace(program, folder, count)) if may_make_namespaces() else NOT_ALLOWED


def read_counts(done: subprocess.CompletedProcess[str]) -> Result:
    """Return the result of a program that prints how often it tried and how often everything held."""
    try:
        tried, held = map(int, done.stdout.split()[-2:])
    except ValueError:
        return Result(tried=1, held=0, note=first_lost([done.stderr.strip()[-200:]]))
    return Result(tried=tried, held=held)


def reboots(folder: Path, count: int, seed: int) -> Result:
    """Tear down the whole PID namespace of a running training: it is shown as stopped, with the reason."""

    def attempt(number: int, _: random.Random) -> str:
        outputs = folder / f"boot-{number}"
        done = _in_namespace("boot", outputs, 1)
        rows = [(str(session.status), session.reason_code, "restarted" in session.reason) for session in list_sessions(outputs)]
        shutil.rmtree(outputs, ignore_errors=True)
        return "" if done.returncode == 0 and rows == [("stopped", "interrupted", True)] else f"{rows} {done.stderr[-100:]}"

    return try_each(count, None, attempt) if may_make_namespaces() else NOT_ALLOWED


ESCAPE = """
import random, subprocess
random.seed({seed!r})
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


def escaping_children(folder: Path, count: int, seed: int) -> Result:
    """Let a trainer leave daemons behind in sessions of their own, deaf to signals and without our environment: none survives its end."""

    def attempt(number: int, _: random.Random) -> str:
        outputs = folder / f"escape-{number}"
        outputs.mkdir(parents=True)
        run, end = make_run(outputs), ENDS[number % len(ENDS)]
        launch(run, ESCAPE.format(seed=f"{seed}-{number}", mark=str(outputs / "pid-"), children=2, end=end))
        if "ready" in end:
            wait_for((run.folder / "ready").exists)
            engine_of(run).cancel(run, grace_s=0.2)
        wait_until_ended(run)
        pids = [int(path.name.removeprefix("pid-")) for path in outputs.glob("pid-*")]
        alive = [pid for pid in pids if start_ticks(pid) is not None]
        for pid in alive:
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(outputs, ignore_errors=True)
        return "" if len(pids) == 2 and not alive else f"{len(alive)} of {len(pids)} daemons are alive"

    return try_each(count, seed, attempt)

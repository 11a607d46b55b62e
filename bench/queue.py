"""99 runs that wait for one device: their processes, memory and CPU."""

import os
import sys
import tempfile
import time
from pathlib import Path

import psutil

from bench.table import Figure
from fluxgym.contract.codes import Status
from fluxgym.engines.registry import engine_of, status_of
from fluxgym.runs.launch_spec import DeviceRequest, LaunchSpec, write_launch_spec
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.process_identity import is_alive, read_record
from fluxgym.runs.state import create_state, read_state
from fluxgym.sessions.control import request_stop, wait_until_ended

COUNT = 99
WATCHED_S = 30.0
SETTLED_S = 60.0


def measure(_: int) -> list[Figure]:
    """Measure the processes of waiting runs beside one that trains, over WATCHED_S."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FLUXGYM_LOCKS"] = f"{folder}/locks"
        outputs = OutputsPaths(Path(folder) / "outputs")
        runs = [_start(outputs.run(f"run-{number:02d}")) for number in range(COUNT + 1)]
        _settle(runs)
        processes = _processes_of(runs)
        before = _cpu_s(processes)
        time.sleep(WATCHED_S)
        cpu, rss = (_cpu_s(processes) - before) / WATCHED_S * 100, sum(process.memory_info().rss for process in processes) / 1e6
        for run in reversed(runs):
            request_stop(run, now=True)
            wait_until_ended(run)
    return [
        Figure(what=f"processes of {COUNT} waiting runs", ours=float(len(processes)), unit="", target="1"),
        Figure(what="their RSS", ours=rss, unit="MB", target="<= 30"),
        Figure(what="their CPU", ours=cpu, unit="%", target="< 2"),
    ]


def _start(run: RunPaths) -> RunPaths:
    """Start a run whose trainer sleeps; the first one gets the CPU."""
    run.private.mkdir(parents=True)
    state = {"lora_name": run.slug, "timestamp": time.time(), "status": "starting", "run_id": run.slug, "enable_monitoring": True}
    create_state(run, state)
    sleep = (sys.executable, "-c", "import time; time.sleep(600)")
    spec = LaunchSpec(run_id=run.slug, attempt=1, argv=sleep, trainer_dir=str(run.folder), devices=DeviceRequest(kind="cpu"))
    write_launch_spec(run, spec)
    engine_of(run).submit(run, spec)
    return run


def _settle(runs: list[RunPaths]) -> None:
    """Wait until the first run trains, the others wait, and their reasons are written."""
    deadline = time.monotonic() + SETTLED_S
    while time.monotonic() < deadline:
        if all(status_of(run, read_state(run)).status is Status.QUEUED for run in runs[1:]):
            break
        time.sleep(0.5)
    time.sleep(5)


def _processes_of(runs: list[RunPaths]) -> list[psutil.Process]:
    """Return the live supervisors of waiting runs, and the dispatcher if there is one."""
    records = [record for run in runs[1:] if (record := read_record(run)) is not None]
    pids = {record.supervisor.pid for record in records if record.supervisor is not None and is_alive(record.supervisor)}
    root = str(runs[0].folder.parent)
    pids |= {process.pid for process in psutil.process_iter() if root in _command_line(process)}
    return [psutil.Process(pid) for pid in sorted(pids)]


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _cpu_s(processes: list[psutil.Process]) -> float:
    return sum(times.user + times.system for times in (process.cpu_times() for process in processes))

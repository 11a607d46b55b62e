"""The cost of a start and of the supervisor: seconds from Start to the trainer's process; memory and CPU of the supervisor."""

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psutil

from bench.table import Figure
from fluxgym.engines.registry import engine_of
from fluxgym.runs.launch_spec import DeviceRequest, LaunchSpec, write_launch_spec
from fluxgym.runs.paths import RunPaths
from fluxgym.runs.process_identity import read_record
from fluxgym.runs.state import create_state
from fluxgym.sessions.control import request_stop, wait_until_ended

WATCHED_S = 10.0


def measure(repeats: int) -> list[Figure]:
    """Measure starts of a trainer that does nothing, and its supervisor while it does."""
    alive_s, rss, cpu = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FLUXGYM_LOCKS"] = f"{folder}/locks"
        for number in range(repeats):
            run = RunPaths(Path(folder) / "outputs" / f"run-{number}")
            alive_s.append(_start(run))
            record = read_record(run)
            assert record is not None and record.supervisor is not None
            process = psutil.Process(record.supervisor.pid)
            process.cpu_percent()
            time.sleep(WATCHED_S / repeats)
            cpu.append(process.cpu_percent())
            rss.append(process.memory_info().rss / 1e6)
            request_stop(run, now=True)
            wait_until_ended(run)
    return [
        Figure(what="Start → trainer process alive", ours=statistics.median(alive_s), unit="s", target="<= 1"),
        Figure(what="supervisor's RSS", ours=statistics.median(rss), unit="MB", target="<= 25"),
        Figure(what="supervisor's CPU", ours=statistics.median(cpu), unit="%", target="< 0.5"),
    ]


def _start(run: RunPaths) -> float:
    """Start a run whose trainer sleeps; returns the seconds until that is alive."""
    run.private.mkdir(parents=True)
    create_state(run, {"lora_name": run.slug, "timestamp": time.time(), "status": "starting", "run_id": run.slug})
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    spec = LaunchSpec(run_id=run.slug, attempt=1, argv=tuple(sleep), trainer_dir=str(run.folder), devices=DeviceRequest(kind="cpu"))
    began = time.perf_counter()
    write_launch_spec(run, spec)
    engine_of(run).submit(run, spec)
    while (record := read_record(run)) is None or record.trainer is None:
        time.sleep(0.005)
    return time.perf_counter() - began

"""Runs under a real supervisor whose trainer is a small, possibly hostile program."""

import inspect
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from fluxgym.engines.registry import engine_of
from fluxgym.runs.atomic_files import write_json
from fluxgym.runs.detached import PROJECT
from fluxgym.runs.launch_spec import LaunchSpec, write_launch_spec
from fluxgym.runs.paths import RunPaths
from fluxgym.runs.process_identity import ProcessIdentity, ProcessRecord, identify, write_record
from fluxgym.runs.state import create_state
from fluxgym.runs.ticket import Ticket
from tests.support.checkpoint_files import write_checkpoint_files

PRELUDE = (
    f"""
import json, os, signal, struct, sys, time
{inspect.getsource(write_checkpoint_files)}
"""
    + """
folder, name = sys.argv[1], sys.argv[2]
def progress(step, total=4, **more):
    line = dict(time=time.time(), attempt=int(os.environ["FLUXGYM_ATTEMPT"]), step=step, total_steps=total, **{"phase": "training", **more})
    with open(f"{folder}/progress.jsonl", "a") as file: file.write(json.dumps(line) + "\\n")
def done(step=4, total=4): progress(step, total, phase="done")
def state(step):
    write_checkpoint_files(f"{folder}/{name}-step{step:08d}-state", step=step)
def lora(values=(1.0, 2.0), cut=0):
    data = struct.pack(f"<{len(values)}f", *values)
    head = json.dumps({"a.lora_up.weight": {"dtype": "F32", "shape": [len(values)], "data_offsets": [0, len(data)]}}).encode()
    whole = struct.pack("<Q", len(head)) + head + data
    with open(f"{folder}/{name}.safetensors", "wb") as file: file.write(whole[:len(whole) - cut])
"""
)
GOOD_TRAINER = "progress(2); progress(4); lora()"
STOPPABLE_TRAINER = """
signal.signal(signal.SIGTERM, lambda *_: (progress(3), state(3), sys.exit(143)))
progress(2); open(f"{folder}/ready", "w"); time.sleep(60)
"""


def make_run(outputs: Path, name: str = "cat", **state: object) -> RunPaths:
    """Make a run folder whose state has the status starting."""
    run = RunPaths(outputs / name)
    run.private.mkdir(parents=True)
    create_state(
        run, {"lora_name": name, "max_train_epochs": 1, "timestamp": time.time(), "status": "starting", "run_id": f"id-{name}", **state}
    )
    return run


def record_processes(
    run: RunPaths,
    run_id: str,
    attempt: int,
    supervisor: ProcessIdentity | None,
    trainer: ProcessIdentity | None,
    *,
    started_at: float = 0.0,
) -> None:
    """Record the processes of an attempt, started now unless started_at is given."""
    started_at = started_at or time.time()
    write_record(run, ProcessRecord(run_id=run_id, attempt=attempt, started_at=started_at, supervisor=supervisor, trainer=trainer))


def write_ticket(run: RunPaths, position: int = 1) -> None:
    """Write the ticket by which a run of `make_run` waits in the queue for the CPU."""
    ticket = Ticket(slug=run.slug, run_id=f"id-{run.slug}", position=position, devices=("cpu",), since=1000.0 + position)
    write_json(run.ticket, ticket.to_json())


def dead_process(run_id: str) -> ProcessIdentity:
    """Return the identity of a process that has ended."""
    me = identify(os.getpid(), run_id)
    assert me is not None
    return replace(me, start_ticks=1)


def make_spec(run: RunPaths, program: str, *, attempt: int = 1, expected_steps: int | None = 4, stall_scale: float = 1.0) -> LaunchSpec:
    """Write the launch spec of a program, which can use the helpers of PRELUDE, and return it."""
    spec = LaunchSpec(
        run_id=f"id-{run.slug}", attempt=attempt, argv=(sys.executable, "-c", PRELUDE + program, str(run.folder), run.slug),
        trainer_dir=str(run.folder), expected_steps=expected_steps, stall_scale=stall_scale,
    )  # fmt: skip
    write_launch_spec(run, spec)
    return spec


def launch(run: RunPaths, program: str, *, attempt: int = 1, expected_steps: int | None = 4) -> LaunchSpec:
    """Start a supervisor for a program, which can use the helpers of PRELUDE."""
    spec = make_spec(run, program, attempt=attempt, expected_steps=expected_steps)
    engine_of(run).submit(run, spec)
    return spec


def launch_buggy(run: RunPaths, program: str, mistake: str) -> subprocess.Popen[bytes]:
    """Start a supervisor with a bug: Python that is executed before it starts, with the modules finalize and supervisor."""
    make_spec(run, program)
    code = f"import sys\nfrom fluxgym.supervisor import __main__ as entry, finalize, supervisor\n{mistake}\nsys.exit(entry.main([{str(run.folder)!r}]))"
    with run.monitor_log.open("ab") as log:
        return subprocess.Popen([sys.executable, "-c", code], cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def wait_for(condition, timeout_s: float = 30.0):
    """Wait until a condition is true and return its value."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError("the condition never came true")


def state_of(run: RunPaths) -> dict:
    """Return the run's ui_state.json."""
    return json.loads(run.ui_state.read_text())


def write_checkpoint(run: RunPaths, name: str, step: int, *, data: bytes = b"weights") -> Path:
    """Write a complete checkpoint of the built-in trainer and return its folder."""
    folder = run.folder / name
    write_checkpoint_files(folder, step=step, epoch=1, total_steps=90, data=data, run_id="x")
    return folder


def wait_until_running(run: RunPaths) -> None:
    """Wait until a STOPPABLE_TRAINER trains and its run has the status running."""
    wait_for(lambda: (run.folder / "ready").exists())
    wait_for(lambda: state_of(run)["status"] == "running")

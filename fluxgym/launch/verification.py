"""The last phase of a run: a short-lived child checks what the trainer left, while Stop is heeded. What it checks is verify's matter."""

import json
import logging
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from fluxgym.launch.attempt import Attempt
from fluxgym.launch.trainer_process import POLL_S
from fluxgym.run.paths import RunPaths

VERIFIER = (sys.executable, "-m", "fluxgym.launch.verify")
TIMEOUT_S = 600.0
UNCHECKED = "its result could not be checked"
log = logging.getLogger("fluxgym.supervisor")


def verify(attempt: Attempt, began_at: float, last: dict[str, Any]) -> dict[str, Any] | None:
    """Return the verdict on a run's LoRA, None when somebody stopped the check; `last` is the trainer's last word.

    `began_at` is by the clock of the run's disk. Meanwhile the run's phase is `verifying`, afterwards again what the trainer said.
    """
    run, order = attempt.run, attempt.order
    steps = order.expected_steps if order.expected_steps is not None else int(last.get("total_steps") or 0)
    numbers = [str(began_at), str(steps), str(int(last.get("step") or 0))]
    place: dict[str, Any] = {name: last[name] for name in ("step", "total_steps", "epoch") if name in last}
    _tell(run, last and {"attempt": order.attempt, **place, "phase": "verifying"})
    try:
        return _ask([*VERIFIER, str(run.lora), *numbers], attempt)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return {"ok": False, "reason": f"{UNCHECKED} ({error})"}
    finally:
        _tell(run, last)


def _ask(argv: list[str], attempt: Attempt) -> dict[str, Any] | None:
    """Run the check; raises subprocess.TimeoutExpired, and ValueError for an answer that is none."""
    child = subprocess.Popen(
        argv, cwd=Path(__file__).parents[2], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    deadline = time.monotonic() + TIMEOUT_S
    with child:
        while child.poll() is None:  # what it says is shorter than a pipe takes
            if attempt.is_stopped_anew():
                child.kill()
                return None
            if time.monotonic() > deadline:
                child.kill()
                raise subprocess.TimeoutExpired(argv, TIMEOUT_S)
            time.sleep(POLL_S)
        said = child.stdout.read() if child.stdout else ""
    if child.returncode != 0:
        log.error("the check failed: %s", said)
        raise ValueError(f"the check ended with {child.returncode}")
    return dict(json.loads(said))


def _tell(run: RunPaths, line: dict[str, Any]) -> None:
    """Append to progress.jsonl, whose writer has ended; nothing to one who never said a word. A full disk only hides the phase."""
    if not line:
        return
    try:
        with run.progress.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line | {"time": time.time()}) + "\n")
    except OSError as error:
        log.warning("progress could not be written: %s", error)

"""Show the progress bar of a run in the terminal. Interrupting it does not affect the run."""

import sys
import time

from fluxgym.contract.codes import LIVE, Phase
from fluxgym.engines.registry import status_of
from fluxgym.runs.paths import RunPaths
from fluxgym.runs.progress import duration_text
from fluxgym.runs.state import read_state
from fluxgym.runs.status import SessionStatus
from fluxgym.sessions.control import POLL_S
from fluxgym.sessions.listing import Session, session_of

WIDTH = 24
REDRAW_S = 0.5
QUIET_S = 10.0


def watch(run: RunPaths) -> SessionStatus:
    """Show a run's progress until it has ended, and return its last status."""
    on_terminal = sys.stderr.isatty()
    drawn, said_at = "", 0.0
    while (session := session_of(run)) is not None and session.status in LIVE:
        words = f"{_bar(session)} {progress_words(session)}"
        if words != drawn and (on_terminal or time.monotonic() - said_at > QUIET_S):
            sys.stderr.write(f"\r\033[K{words}" if on_terminal else f"{words}\n")
            sys.stderr.flush()
            drawn, said_at = words, time.monotonic()
        time.sleep(REDRAW_S if on_terminal else POLL_S)
    if on_terminal and drawn:
        sys.stderr.write("\r\033[K")
    return status_of(run, read_state(run))


def _bar(session: Session) -> str:
    step, total = session.progress.get("step"), session.progress.get("total_steps")
    done = round(WIDTH * step / total) if step and total else 0
    return "▓" * done + "░" * (WIDTH - done)


def progress_words(session: Session) -> str:
    """Return a run's progress in one line: phase, step, epoch, loss, speed, remaining time."""
    progress = session.progress
    parts = [str(progress.get("phase", session.status.value))] if session.status in LIVE else []
    if progress.get("num_items") and progress.get("phase") == Phase.CACHING:
        parts.append(f"{progress.get('item')}/{progress['num_items']}")
    if progress.get("total_steps"):
        parts.append(f"{progress.get('step', 0)}/{progress['total_steps']}")
    if progress.get("epoch") and progress["epoch"] <= (session.max_train_epochs or 0):
        parts.append(f"epoch {progress['epoch']}/{session.max_train_epochs}")
    if "loss" in progress:
        parts.append(f"loss {progress['loss']:.3f}")
    if "s_per_it" in progress:
        parts.append(f"{progress['s_per_it']:.2f} s/it")
    if progress.get("eta_s"):
        parts.append(f"{duration_text(progress['eta_s'])} left")
    return " · ".join(parts)

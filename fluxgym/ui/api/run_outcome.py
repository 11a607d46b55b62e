"""Why a run ended before its last step: the cause, an excerpt of the log, and what to do."""

import re

from fluxgym.contract.codes import Status
from fluxgym.dataset.folder import ImageFolder
from fluxgym.runs.exit_record import ExitRecord, read_exit
from fluxgym.runs.log_tail import tail
from fluxgym.runs.paths import RunPaths
from fluxgym.runs.state import read_state_or_empty
from fluxgym.sessions.advice import EDIT_LABEL, START_LABEL, advice_for
from fluxgym.sessions.listing import Session
from fluxgym.sessions.origin import IMPORTED, NOT_TRAINED_HERE, Origin, is_unstarted
from fluxgym.sessions.requeue import can_start_again
from fluxgym.ui.api.run_answers import RunOutcome

LOG_LINES = 60
EVIDENCE_LINES = 6
MAX_LINE = 400
CAUSE = re.compile(r"(?:\b|_)(?:\w*Error|\w*Exception|error|Killed|Traceback)\b|out of memory|No space left|NaN\b", re.IGNORECASE)


def run_outcome(run: RunPaths, session: Session, origin: Origin) -> RunOutcome | None:
    """Return why a run ended early, None for one that is alive or completed."""
    if session.status not in (Status.STOPPED, Status.FAILED, Status.UNREADABLE):
        return None
    if is_unstarted(session.status, origin):
        return RunOutcome(
            title="Not started yet" if origin is Origin.COPY else "Imported", exit="", evidence=[],
            reason=NOT_TRAINED_HERE if session.reason == IMPORTED else session.reason,
            advice=_unstarted_advice(run),
        )  # fmt: skip
    record = read_exit(run)
    is_failed = session.status is Status.FAILED
    advice = advice_for(session.reason_code) if session.reason_code or is_failed else None
    title = advice.title if advice else "It has stopped"
    step = record.last_step if record else None
    return RunOutcome(
        title=f"{title} after step {step}" if advice and advice.names_step and step else title,
        reason=session.reason,
        exit=_exit_text(record) if is_failed else "",
        evidence=evidence(tail(run.training_log, LOG_LINES)) if is_failed else [],
        advice=list(advice.lines_for(read_state_or_empty(run))) if advice else [],
    )


def _unstarted_advice(run: RunPaths) -> list[str]:
    """Return what the buttons of a copy or an import do that was not started here."""
    starts = [f"“{START_LABEL}” trains it as it is."] if can_start_again(run) else []
    return [*starts, f"“{EDIT_LABEL}” fills the form with these settings{_images_text(run)}. Change what you like, and start it."]


def _images_text(run: RunPaths) -> str:
    """Return " and images" if the run has images; an export of settings has none."""
    return " and images" if ImageFolder(run.dataset).names() else ""


def _exit_text(record: ExitRecord | None) -> str:
    """Return how the trainer's process ended, "" if that is unknown."""
    if record is None:
        return ""
    if record.signal:
        return f"The trainer was ended by signal {record.signal}."
    return "" if record.exit_code is None else f"The trainer ended with exit code {record.exit_code}."


def evidence(lines: list[str]) -> list[str]:
    """Return the lines from the end of a log that show a cause: from the last one with an error on, else the last lines."""
    lines = [line[:MAX_LINE] for line in lines if line.strip()]
    last = next((index for index in reversed(range(len(lines))) if CAUSE.search(lines[index])), None)
    return lines[-EVIDENCE_LINES:] if last is None else lines[last : last + EVIDENCE_LINES]

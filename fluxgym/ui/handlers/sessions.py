"""The list of sessions and what its buttons do. Rows are the derived list's own facts and, beside them, what the page may offer for each."""

import time
from collections import Counter

from fluxgym.errors import SessionError
from fluxgym.run.exit_record import read_exit
from fluxgym.run.paths import OutputsPaths, RunPaths
from fluxgym.run.status import LIVE, Status
from fluxgym.run.ui_state import read_state
from fluxgym.sessions.index import Entry, SessionIndex
from fluxgym.sessions.listing import Session, session_of
from fluxgym.sessions.resume import resume, resume_offer
from fluxgym.sessions.stop import stop
from fluxgym.settings import Settings
from fluxgym.ui.handlers.answers import Answer, answers, fingerprint, text, whole
from fluxgym.ui.machine import describe

PAGE_SIZE = 10
RESUMABLE = (Status.STOPPED, Status.FAILED)


class SessionHandlers:
    """Answers the banner."""

    def __init__(self, settings: Settings, index: SessionIndex) -> None:
        self._settings = settings
        self._outputs = OutputsPaths(settings.outputs)
        self._index = index

    @answers
    def sessions(self, data: Answer) -> Answer:
        """Answer one page of the list; only the moment when it is what the page has seen."""
        every = self._index.look(everything=not data.get("seen"))
        wanted = text(data, "filter", 200).casefold().strip()
        chosen = [entry for entry in every if wanted in entry.lora_name.casefold() or wanted in entry.slug] if wanted else every
        page = min(whole(data, "page"), max(0, (len(chosen) - 1) // PAGE_SIZE))
        shown = [session_of(self._outputs.run(entry.slug)) for entry in chosen[page * PAGE_SIZE : (page + 1) * PAGE_SIZE]]
        answer = {
            "counts": _counts(every, len(chosen)),
            "rows": [self.row(session) for session in shown if session],
            "page": page,
            "page_size": PAGE_SIZE,
            "machine": describe(self._settings.outputs),
        }
        version = fingerprint(answer)
        now = time.time()
        return {"now": now, "version": version} | ({} if version == data.get("seen") else answer)

    def row(self, session: Session) -> Answer:
        """Return a session as the page shows it: its facts, whether it is being stopped, and what may be done."""
        run = self._outputs.run(session.slug)
        row: Answer = dict(session.to_json())
        row["stopping"] = session.status in LIVE and run.stop.exists()
        row["ended"] = _ended_at(run) if session.status not in LIVE else None
        row["resume"] = offer(run) if session.status in RESUMABLE else None
        return row

    @answers
    def act(self, data: Answer) -> Answer:
        """Do what a row's button says to the very run it was drawn for."""
        run = self._outputs.run(text(data, "slug", 200))
        if data.get("run_id") and read_state(run).get("run_id") != data["run_id"]:
            raise SessionError(f"{run.slug} has been started anew since this button was drawn; nothing was done to it.")
        action = data.get("action")
        if action in ("stop", "kill"):
            stop(run, now=action == "kill")
        elif action == "resume":
            resume(run, settings=self._settings)
        else:
            return {"error": "The page asked for something that the app does not know; reload the page."}
        return {}


def _counts(every: list[Entry], shown: int) -> dict[str, int]:
    statuses = Counter(entry.status for entry in every)
    running = statuses[Status.RUNNING] + statuses[Status.STARTING]
    waiting = statuses[Status.QUEUED]
    return {"running": running, "waiting": waiting, "earlier": len(every) - running - waiting, "shown": shown}


def _ended_at(run: RunPaths) -> float | None:
    record = read_exit(run)
    return record.ended_at if record is not None else None


def offer(run: RunPaths) -> dict[str, str] | None:
    """Return the label and help of the button that resumes a run, None when there is nothing to resume."""
    found = resume_offer(run)
    return (
        None if found is None else {"label": f"Resume from step {found.step}", "help": f"Goes on {found.sentence()} ({found.checkpoint})"}
    )

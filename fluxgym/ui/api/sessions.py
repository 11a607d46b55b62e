"""The list of sessions and what its buttons do. Rows are the derived list's own facts and, beside them, what the page may offer for each."""

import time
from collections import Counter
from collections.abc import Callable

from fluxgym.app_settings import Settings
from fluxgym.contract.codes import LIVE, Status
from fluxgym.engines.devices import describe
from fluxgym.engines.registry import engine_for, is_executing
from fluxgym.errors import SessionError, UnreadableState
from fluxgym.runs.exit_record import read_exit
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.state import read_state
from fluxgym.sessions.cleanup import contents, delete, forget, sweep
from fluxgym.sessions.control import stop
from fluxgym.sessions.create import duplicate
from fluxgym.sessions.history import diff, repair, restore, versions
from fluxgym.sessions.index import Entry, SessionIndex
from fluxgym.sessions.listing import Session, session_of
from fluxgym.sessions.resume import needs_check, resume, resume_preview
from fluxgym.sessions.templates import save
from fluxgym.ui.api.answers import Answer, answers, fingerprint, text, whole

PAGE_SIZE = 10
RESUMABLE = (Status.STOPPED, Status.FAILED, Status.COMPLETED)


class SessionHandlers:
    """Answers the banner."""

    def __init__(self, settings: Settings, index: SessionIndex) -> None:
        self._settings = settings
        self._outputs = OutputsPaths(settings.outputs)
        self._index = index
        self._engine = engine_for(self._outputs)
        self._actions = self._kinds()

    @answers
    def sessions(self, data: Answer) -> Answer:
        """Answer one page of the list; only the moment when it is what the page has seen."""
        every = self._index.entries(everything=not data.get("seen"))
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
        row["began"] = "Queued" if session.status is Status.QUEUED else "Started" if _has_begun(run) else "Added"
        row["alive"] = session.status not in LIVE and is_executing(run)
        row["next"] = session.status is Status.QUEUED
        row["ended"] = _ended_at(run) if session.status not in LIVE else None
        row["resume"] = offer(run) if session.status in RESUMABLE and not row["alive"] else None
        return row

    @answers
    def act(self, data: Answer) -> Answer:
        """Do what a row's button says to the very run it was drawn for."""
        run = self._outputs.run(text(data, "slug", 200))
        if data.get("run_id") and read_state(run).get("run_id") != data["run_id"]:
            raise SessionError(f"{run.slug} has been started again since this button was drawn; nothing was done to it.")
        action = self._actions.get(text(data, "action", 40))
        if action is None:
            return {"error": "The page asked for something that the app does not know; reload the page."}
        answer = action(run, data)
        return answer if isinstance(answer, dict) else {}

    def _kinds(self) -> dict[str, Callable[[RunPaths, Answer], object]]:
        """Return what each button does; those that take more of the person's words find it in the message."""
        return {
            "stop": lambda run, data: stop(run),
            "kill": lambda run, data: stop(run, now=True),
            "resume": lambda run, data: resume(run, settings=self._settings),
            "next": lambda run, data: self._engine.move(run, 1),
            "duplicate": lambda run, data: {"slug": duplicate(run, text(data, "name", 300)).slug},
            "history": lambda run, data: {"versions": _versions(run)},
            "restore": lambda run, data: {"changed": restore(run, text(data, "id", 200))},
            "contents": lambda run, data: {"sentence": contents(run).sentence()},
            "forget": lambda run, data: forget(run),
            "delete": lambda run, data: delete(run),
            "repair": lambda run, data: repair(run) and None,
            "template": lambda run, data: {"template": save(self._outputs, text(data, "name", 300), read_state(run)).name},
        }

    @answers
    def sweep(self, data: Answer) -> Answer:
        """Forget ended runs that are older than so many days."""
        return {"swept": len(sweep(self._settings.outputs, whole(data, "days", 0, 100_000)))}


def _has_begun(run: RunPaths) -> bool:
    """Return True if it was ever started here: a copy or an import was not, a state by another writer may have been."""
    return run.training_log.exists() or run.launch.exists() or "parent" not in _state(run)


def _state(run: RunPaths) -> dict[str, object]:
    try:
        return read_state(run)
    except UnreadableState:
        return {}


def _versions(run: RunPaths) -> list[Answer]:
    present = read_state(run)
    return [{"id": version.id, "kept_at": version.kept_at, "changes": diff(version.state, present)} for version in versions(run)]


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
    if needs_check(run):
        return {"label": "Check the result", "help": "The trainer finished while nothing watched it: its model is read and checked"}
    found = resume_preview(run)
    return (
        None if found is None else {"label": f"Resume from step {found.step}", "help": f"Goes on {found.sentence()} ({found.checkpoint})"}
    )

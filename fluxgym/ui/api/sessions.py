"""Endpoints of the session list: its rows, and the actions of their buttons and menus."""

import time
from collections import Counter
from collections.abc import Callable

from fluxgym.app_settings import Settings
from fluxgym.contract.codes import LIVE, Status
from fluxgym.engines.devices import describe
from fluxgym.engines.registry import engine_for, is_executing
from fluxgym.errors import SessionError
from fluxgym.runs.exit_record import read_exit
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.state import read_state, read_state_or_empty
from fluxgym.sessions.cleanup import contents, delete, forget, sweep
from fluxgym.sessions.control import stop
from fluxgym.sessions.create import duplicate
from fluxgym.sessions.history import diff, repair, restore, versions
from fluxgym.sessions.index import Entry, SessionIndex
from fluxgym.sessions.listing import Session, session_of
from fluxgym.sessions.resume import needs_check, resume, resume_preview
from fluxgym.sessions.templates import save
from fluxgym.ui.api.responses import JsonObject, fingerprint, integer, json_endpoint, text

PAGE_SIZE = 10
RESUMABLE = (Status.STOPPED, Status.FAILED, Status.COMPLETED)


class SessionHandlers:
    """Endpoints of "Active Training Sessions", shared with the Run page."""

    def __init__(self, settings: Settings, index: SessionIndex) -> None:
        self._settings = settings
        self._outputs = OutputsPaths(settings.outputs)
        self._index = index
        self._engine = engine_for(self._outputs)
        self._actions = self._build_actions()

    @json_endpoint
    def sessions(self, data: JsonObject) -> JsonObject:
        """Return one page of the list; only the time and version if the page has this version already."""
        entries = self._index.entries(everything=not data.get("seen"))
        query = text(data, "filter", 200).casefold().strip()
        chosen = [entry for entry in entries if query in entry.lora_name.casefold() or query in entry.slug] if query else entries
        page = min(integer(data, "page"), max(0, (len(chosen) - 1) // PAGE_SIZE))
        shown = [session_of(self._outputs.run(entry.slug)) for entry in chosen[page * PAGE_SIZE : (page + 1) * PAGE_SIZE]]
        reply = {
            "counts": _counts(entries, len(chosen)),
            "rows": [self.row(session) for session in shown if session],
            "page": page,
            "page_size": PAGE_SIZE,
            "machine": describe(self._settings.outputs),
        }
        version = fingerprint(reply)
        now = time.time()
        return {"now": now, "version": version} | ({} if version == data.get("seen") else reply)

    def row(self, session: Session) -> JsonObject:
        """Return a session as a row of the list: its fields, whether it is stopping, and which buttons it gets."""
        run = self._outputs.run(session.slug)
        row: JsonObject = dict(session.to_json())
        row["stopping"] = session.status in LIVE and run.stop.exists()
        row["began"] = "Queued" if session.status is Status.QUEUED else "Started" if _has_begun(run) else "Added"
        row["alive"] = session.status not in LIVE and is_executing(run)
        row["next"] = session.status is Status.QUEUED
        row["ended"] = _ended_at(run) if session.status not in LIVE else None
        row["resume"] = resume_button(run) if session.status in RESUMABLE and not row["alive"] else None
        return row

    @json_endpoint
    def act(self, data: JsonObject) -> JsonObject:
        """Execute a button's action on its run; data has slug, run_id, action and the action's own fields."""
        run = self._outputs.run(text(data, "slug", 200))
        if data.get("run_id") and read_state(run).get("run_id") != data["run_id"]:
            raise SessionError(f"{run.slug} was started again after the page showed this button, so nothing was changed. Reload the page.")
        action = self._actions.get(text(data, "action", 40))
        if action is None:
            return {"error": "The page sent an unknown request; reload the page."}
        reply = action(run, data)
        return reply if isinstance(reply, dict) else {}

    def _build_actions(self) -> dict[str, Callable[[RunPaths, JsonObject], object]]:
        """Return the function of each action, which takes the run and the request."""
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

    @json_endpoint
    def sweep(self, data: JsonObject) -> JsonObject:
        """Remove ended runs that are older than data["days"] from the list; returns their number."""
        return {"swept": len(sweep(self._settings.outputs, integer(data, "days", 0, 100_000)))}


def _has_begun(run: RunPaths) -> bool:
    """Return True if a run was started on this machine; duplicates and imported runs have a parent and no log yet."""
    return run.training_log.exists() or run.launch.exists() or "parent" not in read_state_or_empty(run)


def _versions(run: RunPaths) -> list[JsonObject]:
    present = read_state(run)
    return [{"id": version.id, "kept_at": version.kept_at, "changes": diff(version.state, present)} for version in versions(run)]


def _counts(entries: list[Entry], shown: int) -> dict[str, int]:
    statuses = Counter(entry.status for entry in entries)
    running = statuses[Status.RUNNING] + statuses[Status.STARTING]
    waiting = statuses[Status.QUEUED]
    return {"running": running, "waiting": waiting, "earlier": len(entries) - running - waiting, "shown": shown}


def _ended_at(run: RunPaths) -> float | None:
    record = read_exit(run)
    return record.ended_at if record is not None else None


def resume_button(run: RunPaths) -> dict[str, str] | None:
    """Return the label and help of a run's resume button, None if there is nothing to resume."""
    if needs_check(run):
        return {
            "label": "Check the result",
            "help": "The trainer finished while no supervisor was running. Reads and checks the trained LoRA",
        }
    found = resume_preview(run)
    return (
        None if found is None else {"label": f"Resume from step {found.step}", "help": f"Continues {found.sentence()} ({found.checkpoint})"}
    )

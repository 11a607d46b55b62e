"""Routes of the list of runs: its pages, and the actions of a run's buttons and menu."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from fastapi import APIRouter, Query
from starlette.responses import Response

from fluxgym.app_settings import Settings
from fluxgym.contract.codes import LIVE, Status
from fluxgym.engines.devices import describe
from fluxgym.engines.registry import engine_for, is_executing
from fluxgym.errors import SessionError, SessionNotFound
from fluxgym.runs.exit_record import read_exit
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.state import read_state, read_state_or_empty
from fluxgym.sessions import cleanup, history
from fluxgym.sessions.control import stop
from fluxgym.sessions.create import duplicate
from fluxgym.sessions.index import Entry, SessionIndex
from fluxgym.sessions.listing import Session, session_of
from fluxgym.sessions.resume import needs_check, resume, resume_preview
from fluxgym.sessions.templates import save
from fluxgym.ui.api.answers import (
    ActionResult,
    Contents,
    HistoryPage,
    HistoryVersion,
    ResumeOffer,
    SessionCounts,
    SessionPage,
    SessionRow,
    Swept,
)
from fluxgym.ui.api.responses import UNKNOWN_REQUEST, if_changed, new_router

PAGE_SIZE = 10
RESUMABLE = (Status.STOPPED, Status.FAILED, Status.COMPLETED)


@dataclass(frozen=True, kw_only=True)
class ActionRequest:
    """A button's action; run_id is that of the run that the button was drawn for."""

    run_id: str | None = None
    name: str = ""
    version: str = ""


@dataclass(frozen=True, kw_only=True)
class SweepRequest:
    """Forget ended runs that were started more than this many days ago."""

    days: int


class SessionRoutes:
    """Routes of the list of runs, and the rows that the run's page shows too."""

    def __init__(self, settings: Settings, index: SessionIndex) -> None:
        self._settings = settings
        self._outputs = OutputsPaths(settings.outputs)
        self._index = index
        self._engine = engine_for(self._outputs)
        self._actions = self._build_actions()

    @property
    def router(self) -> APIRouter:
        """The routes, to be included in the application."""
        router = new_router()
        router.add_api_route("/sessions", self.sessions, response_model=SessionPage)
        router.add_api_route("/sessions/{slug}/history", self.history, response_model=HistoryPage)
        router.add_api_route("/sessions/{slug}/contents", self.contents, response_model=Contents)
        router.add_api_route("/sessions/{slug}/{action}", self.act, methods=["POST"], response_model=ActionResult)
        router.add_api_route("/sweep", self.sweep, methods=["POST"], response_model=Swept)
        return router

    def sessions(self, page: int = Query(0, ge=0), filter: str = "", version: str = "") -> SessionPage | Response:
        """Return one page of the list, newest first; 204 if the page has this version already."""
        entries = self._index.entries(everything=not version)
        query = filter[:200].casefold().strip()
        chosen = [entry for entry in entries if query in entry.lora_name.casefold() or query in entry.slug] if query else entries
        page = min(page, max(0, (len(chosen) - 1) // PAGE_SIZE))
        found = [session_of(self._outputs.run(entry.slug)) for entry in chosen[page * PAGE_SIZE : (page + 1) * PAGE_SIZE]]
        answer = SessionPage(
            version="",
            counts=_counts(entries, len(chosen)),
            rows=[self.row(session) for session in found if session],
            page=page,
            page_size=PAGE_SIZE,
            machine=describe(self._settings.outputs),
        )
        return if_changed(answer, version)

    def row(self, session: Session) -> SessionRow:
        """Return a session as a row of the list, with what its buttons need."""
        run = self._outputs.run(session.slug)
        is_live = session.status in LIVE
        executing = not is_live and is_executing(run)
        return SessionRow(
            **session.to_json(),
            began="Queued" if session.status is Status.QUEUED else "Started" if _has_begun(run) else "Added",
            ended=None if is_live else _ended_at(run),
            is_stopping=is_live and run.stop.exists(),
            is_executing=executing,
            resume=resume_offer(run) if session.status in RESUMABLE and not executing else None,
        )

    def act(self, slug: str, action: str, request: ActionRequest) -> ActionResult:
        """Do what a button of a run says."""
        run = self._existing(slug)
        if request.run_id and read_state(run).get("run_id") != request.run_id:
            raise SessionError(f"{run.slug} was started again after the page showed this button, so nothing was changed. Reload the page.")
        if action not in self._actions:
            raise SessionError(UNKNOWN_REQUEST)
        return self._actions[action](run, request) or ActionResult()

    def _build_actions(self) -> dict[str, Callable[[RunPaths, ActionRequest], ActionResult | None]]:
        """Return the function of each action, which takes the run and the request."""
        return {
            "stop": lambda run, request: _done(stop(run)),
            "kill": lambda run, request: _done(stop(run, now=True)),
            "resume": lambda run, request: _done(resume(run, settings=self._settings)),
            "next": lambda run, request: _done(self._engine.move(run, 1)),
            "duplicate": lambda run, request: ActionResult(slug=duplicate(run, request.name[:300]).slug),
            "restore": lambda run, request: ActionResult(changed=history.restore(run, request.version[:200])),
            "forget": lambda run, request: _done(cleanup.forget(run)),
            "delete": lambda run, request: _done(cleanup.delete(run)),
            "repair": lambda run, request: _done(history.repair(run)),
            "template": lambda run, request: ActionResult(template=save(self._outputs, request.name[:300], read_state(run)).name),
        }

    def history(self, slug: str) -> HistoryPage:
        """Return the earlier settings of a run."""
        run = self._existing(slug)
        present = read_state(run)
        return HistoryPage(
            versions=[
                HistoryVersion(id=version.id, kept_at=version.kept_at, changes=history.diff(version.state, present))
                for version in history.versions(run)
            ]
        )

    def contents(self, slug: str) -> Contents:
        """Count what a run's folder holds."""
        found = cleanup.contents(self._existing(slug))
        return Contents(
            num_files=found.num_files, num_bytes=found.num_bytes, lora_files=list(found.lora_files), sentence=found.sentence()
        )  # fmt: skip

    def _existing(self, slug: str) -> RunPaths:
        """Return a run whose folder exists; its ui_state.json may be missing, as after Forget."""
        run = self._outputs.run(slug)
        if not run.folder.is_dir():
            raise SessionNotFound(f"There is no run called “{run.slug}”. Reload the page.")
        return run

    def sweep(self, request: SweepRequest) -> Swept:
        """Remove ended runs that are older than some days from the list."""
        return Swept(slugs=cleanup.sweep(self._settings.outputs, min(max(request.days, 0), 100_000)))


def _done(_: object) -> None:
    """Drop the result of an action that has nothing to tell."""


def _has_begun(run: RunPaths) -> bool:
    """Return True if a run was started on this machine; duplicates and imported runs have a parent and no log yet."""
    return run.training_log.exists() or run.launch.exists() or "parent" not in read_state_or_empty(run)


def _counts(entries: list[Entry], shown: int) -> SessionCounts:
    statuses = Counter(entry.status for entry in entries)
    running = statuses[Status.RUNNING] + statuses[Status.STARTING]
    waiting = statuses[Status.QUEUED]
    return SessionCounts(running=running, waiting=waiting, earlier=len(entries) - running - waiting, shown=shown)


def _ended_at(run: RunPaths) -> float | None:
    record = read_exit(run)
    return record.ended_at if record is not None else None


def resume_offer(run: RunPaths) -> ResumeOffer | None:
    """Return the label and help of a run's resume button, None if there is nothing to resume."""
    if needs_check(run):
        return ResumeOffer(
            label="Check the result", help="The trainer finished while no supervisor was running. Reads and checks the trained LoRA"
        )
    found = resume_preview(run)
    if found is None:
        return None
    return ResumeOffer(label=f"Resume from step {found.step}", help=f"Continues {found.sentence()} ({found.checkpoint})")

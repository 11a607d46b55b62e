"""Routes of the list of runs: its pages, and the actions of a run's buttons and menu."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from fluxgym.app_settings import Settings
from fluxgym.contract.codes import Status
from fluxgym.engines.registry import engine_for, status_of
from fluxgym.errors import SessionError, SessionNotFound
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.state import read_state
from fluxgym.sessions import history
from fluxgym.sessions.control import stop
from fluxgym.sessions.create import duplicate
from fluxgym.sessions.delete import delete
from fluxgym.sessions.forget import forget
from fluxgym.sessions.index import EntriesCache, Entry, SessionIndex
from fluxgym.sessions.origin import is_unstarted
from fluxgym.sessions.resume import resume, resumed_sentence
from fluxgym.sessions.run_metrics import MetricsCache
from fluxgym.sessions.templates import save
from fluxgym.ui.api.responses import UNCHANGED, UNKNOWN_REQUEST, if_changed, new_router
from fluxgym.ui.api.run_parts import versions
from fluxgym.ui.api.session_answers import ActionResult, HistoryPage, ModelChoice, SessionCounts, SessionPage
from fluxgym.ui.api.session_rows import SessionRows

PAGE_SIZE = 10
MAX_PAGE_SIZE = 100


class Filter(StrEnum):
    """The runs that the list can be reduced to."""

    ALL = ""
    RUNNING = "running"
    QUEUED = "queued"
    STOPPED = "stopped"
    FAILED = "failed"
    COMPLETED = "completed"


class Sort(StrEnum):
    """The columns by which the list can be sorted."""

    DATE = "date"
    NAME = "name"
    STATUS = "status"
    STEPS = "steps"
    LOSS = "loss"
    MODEL = "model"
    DURATION = "duration"


STATUS_ORDER = (
    Status.RUNNING, Status.STARTING, Status.QUEUED, Status.FAILED, Status.UNREADABLE, Status.STOPPED, Status.COMPLETED,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ActionRequest:
    """A button's action; run_id is that of the run that the button was drawn for, agreed the codes of errors that the user agreed to."""

    run_id: str | None = None
    name: str = ""
    version: str = ""
    checkpoint: str = ""
    epochs: int | None = None
    agreed: tuple[str, ...] = ()


Action = Callable[[RunPaths, ActionRequest], ActionResult]


@dataclass(frozen=True, kw_only=True)
class ListQuery:
    """Which part of the list is requested, in which order."""

    page: Annotated[int, Query(ge=0)] = 0
    page_size: Annotated[int, Query(ge=1, le=MAX_PAGE_SIZE)] = PAGE_SIZE
    filter: str = ""
    status: Filter = Filter.ALL
    model: str = ""
    sort: Sort = Sort.DATE
    descending: bool = True
    version: str = ""


class SessionRoutes:
    """Routes of the list of runs, and the rows that the run's page shows too."""

    def __init__(self, settings: Settings, index: SessionIndex) -> None:
        self._settings = settings
        self._outputs = OutputsPaths(settings.outputs)
        self._index = index
        self._rows = SessionRows(settings)
        self._figures = MetricsCache(self._outputs)
        self._counts, self._models = EntriesCache(count_entries), EntriesCache(models_of)
        self._engine = engine_for(self._outputs)
        self._actions = self._build_actions()

    @property
    def router(self) -> APIRouter:
        """The routes, to be included in the application."""
        router = new_router()
        router.add_api_route("/sessions", self.sessions, response_model=SessionPage, responses=UNCHANGED)
        router.add_api_route("/sessions/{slug}/history", self.history, response_model=HistoryPage)
        router.add_api_route("/sessions/{slug}/{action}", self.act, methods=["POST"], response_model=ActionResult)
        return router

    def sessions(self, query: Annotated[ListQuery, Depends()]) -> SessionPage | Response:
        """Return one page of the list; 204 if the page has this version already."""
        entries = self._index.entries(everything=not query.version)
        chosen = self._sorted(_filtered(entries, query), query)
        page = min(query.page, max(0, (len(chosen) - 1) // query.page_size))
        shown = chosen[page * query.page_size : (page + 1) * query.page_size]
        answer = SessionPage(
            version="",
            counts=replace(self._counts(entries), shown=len(chosen)),
            rows=[row for entry in shown if (row := self._rows.row_of(self._outputs.run(entry.slug)))],
            page=page,
            page_size=query.page_size,
            models=[ModelChoice(id=model, title=self._rows.model_title(model)) for model in self._models(entries)],
        )
        return if_changed(answer, query.version)

    def _sorted(self, entries: list[Entry], query: ListQuery) -> list[Entry]:
        """Return entries in the order of a column; those without a value are last, and equal ones stay newest first."""
        if query.sort is Sort.DATE:
            return entries if query.descending else entries[::-1]
        value = self._sort_value(query.sort)
        values = [(entry, value(entry)) for entry in entries]
        known = [pair for pair in values if pair[1] is not None]
        known.sort(key=lambda pair: pair[1], reverse=query.descending)
        return [entry for entry, _ in known] + [entry for entry, found in values if found is None]

    def _sort_value(self, sort: Sort) -> Callable[[Entry], Any]:
        figures = self._figures
        return {
            Sort.NAME: lambda entry: entry.name.casefold(),
            Sort.STATUS: lambda entry: STATUS_ORDER.index(entry.status),
            Sort.MODEL: lambda entry: self._rows.model_title(entry.base_model).casefold() or None,
            Sort.STEPS: lambda entry: figures.of(entry).step,
            Sort.LOSS: lambda entry: figures.of(entry).loss,
            Sort.DURATION: lambda entry: figures.of(entry).duration_s,
        }[sort]

    def act(self, slug: str, action: str, request: ActionRequest) -> ActionResult:
        """Perform the action of a run's button."""
        run = self._existing(slug)
        if request.run_id and read_state(run).get("run_id") != request.run_id:
            raise SessionError(f"{run.slug} was started again after the page showed this button, so nothing was changed. Reload the page.")
        if action not in self._actions:
            raise SessionError(UNKNOWN_REQUEST)
        return self._actions[action](run, request)

    def _resume(self, run: RunPaths, request: ActionRequest) -> ActionResult:
        chosen = request.checkpoint[:200] or None
        resume(run, settings=self._settings, from_checkpoint=chosen, epochs=request.epochs, agreed=request.agreed)
        return ActionResult(notice=resumed_sentence(run))

    def _build_actions(self) -> dict[str, Action]:
        """Return the function of each action, which takes the run and the request."""
        silent: dict[str, Callable[[RunPaths], object]] = {
            "stop": stop,
            "kill": lambda run: stop(run, now=True),
            "next": lambda run: self._engine.queue.move(run, 1),
            "repair": history.repair,
        }
        return {name: _without_result(_of_run(action)) for name, action in silent.items()} | {
            "forget": _without_result(lambda run, request: forget(run, run_id=request.run_id)),
            "delete": _without_result(lambda run, request: delete(run, run_id=request.run_id)),
            "resume": self._resume,
            "duplicate": lambda run, request: ActionResult(slug=duplicate(run, request.name[:300]).slug),
            "restore": lambda run, request: ActionResult(changed=history.restore(run, request.version[:200])),
            "template": lambda run, request: ActionResult(template=self._save_template(run, request)),
        }

    def _save_template(self, run: RunPaths, request: ActionRequest) -> str:
        return save(self._outputs, request.name[:300], read_state(run), agreed=request.agreed).name

    def history(self, slug: str) -> HistoryPage:
        """Return the earlier settings of a run."""
        run = self._existing(slug)
        state = read_state(run)
        return HistoryPage(versions=versions(run, state, self._settings.models, status=status_of(run, state).status))

    def _existing(self, slug: str) -> RunPaths:
        """Return a run whose folder exists; its ui_state.json may be missing, as after Forget."""
        run = self._outputs.run(slug)
        if not run.folder.is_dir():
            raise SessionNotFound(f"There is no run called “{run.slug}”. Reload the page.")
        return run


def _of_run(action: Callable[[RunPaths], object]) -> Callable[[RunPaths, ActionRequest], object]:
    return lambda run, _: action(run)


def _without_result(action: Callable[[RunPaths, ActionRequest], object]) -> Action:
    def act(run: RunPaths, request: ActionRequest) -> ActionResult:
        action(run, request)
        return ActionResult()

    return act


def _filtered(entries: list[Entry], query: ListQuery) -> list[Entry]:
    text = query.filter[:200].casefold().strip()
    chosen = [entry for entry in entries if _status_filter(entry) is query.status] if query.status is not Filter.ALL else entries
    if query.model:
        chosen = [entry for entry in chosen if entry.base_model == query.model]
    return (
        [entry for entry in chosen if any(text in name.casefold() for name in (entry.name, entry.lora_name, entry.slug))]
        if text
        else chosen
    )


def _status_filter(entry: Entry) -> Filter:
    """Return the filter that shows an entry; a copy or an import that was not started, and an unreadable one, have no separate filter."""
    if entry.status is Status.STARTING:
        return Filter.RUNNING
    if is_unstarted(entry.status, entry.origin):
        return Filter.ALL
    return Filter.ALL if entry.status is Status.UNREADABLE else Filter(entry.status.value)


def count_entries(entries: Sequence[Entry]) -> SessionCounts:
    """Count the runs that each filter shows; shown is their number without a filter."""
    counts = Counter(_status_filter(entry) for entry in entries)
    return SessionCounts(
        total=len(entries), running=counts[Filter.RUNNING], queued=counts[Filter.QUEUED], stopped=counts[Filter.STOPPED],
        failed=counts[Filter.FAILED], completed=counts[Filter.COMPLETED], shown=len(entries),
    )  # fmt: skip


def models_of(entries: Sequence[Entry]) -> list[str]:
    """Return the ids of the base models, sorted."""
    return sorted({entry.base_model for entry in entries if entry.base_model})

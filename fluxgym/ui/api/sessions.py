"""Route of the list of runs: its pages, filtered and sorted."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from fluxgym.app_settings import Settings
from fluxgym.contract.codes import Status
from fluxgym.runs.paths import OutputsPaths
from fluxgym.sessions.index import EntriesCache, Entry, SessionIndex
from fluxgym.sessions.origin import Origin, is_unstarted
from fluxgym.sessions.run_metrics import MetricsCache
from fluxgym.ui.api.responses import UNCHANGED, if_changed, new_router
from fluxgym.ui.api.session_answers import ModelChoice, SessionCounts, SessionPage
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
    UNSTARTED = "unstarted"
    IMPORTED = "imported"


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
    """Route of the list of runs."""

    def __init__(self, settings: Settings, index: SessionIndex) -> None:
        self._settings = settings
        self._outputs = OutputsPaths(settings.outputs)
        self._index = index
        self._rows = SessionRows(settings)
        self._figures = MetricsCache(self._outputs)
        self._counts, self._models = EntriesCache(count_entries), EntriesCache(models_of)

    @property
    def router(self) -> APIRouter:
        """The route, to be included in the application."""
        router = new_router()
        router.add_api_route("/sessions", self.sessions, response_model=SessionPage, responses=UNCHANGED)
        return router

    def sessions(self, query: Annotated[ListQuery, Depends()]) -> SessionPage | Response:
        """Return one page of the list; 204 if the page has this version already."""
        entries = self._index.entries(everything=not query.version)
        named = _named(entries, query)
        matching = self._sorted(_of_status(named, query.status), query)
        page = min(query.page, max(0, (len(matching) - 1) // query.page_size))
        shown = matching[page * query.page_size : (page + 1) * query.page_size]
        answer = SessionPage(
            version="",
            counts=replace(self._counts(named), shown=len(matching)),
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
        value_of = self._sort_value(query.sort)
        values = [(entry, value_of(entry)) for entry in entries]
        with_value = [pair for pair in values if pair[1] is not None]
        with_value.sort(key=lambda pair: pair[1], reverse=query.descending)
        return [entry for entry, _ in with_value] + [entry for entry, value in values if value is None]

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


def _named(entries: list[Entry], query: ListQuery) -> list[Entry]:
    """Return the entries of a query's name and model, whatever their status: the same list if it asks for neither."""
    text = query.filter[:200].casefold().strip()
    matching = [entry for entry in entries if entry.base_model == query.model] if query.model else entries
    return (
        [entry for entry in matching if any(text in name.casefold() for name in (entry.name, entry.lora_name, entry.slug))]
        if text
        else matching
    )


def _of_status(entries: list[Entry], status: Filter) -> list[Entry]:
    return entries if status is Filter.ALL else [entry for entry in entries if _status_filter(entry) is status]


def _status_filter(entry: Entry) -> Filter:
    """Return the filter that shows an entry; an unreadable one has no separate filter."""
    if entry.status is Status.STARTING:
        return Filter.RUNNING
    if is_unstarted(entry.status, entry.origin):
        return Filter.IMPORTED if entry.origin is Origin.IMPORT else Filter.UNSTARTED
    return Filter.ALL if entry.status is Status.UNREADABLE else Filter(entry.status.value)


def count_entries(entries: Sequence[Entry]) -> SessionCounts:
    """Count the runs that each filter by status shows; shown is their number without one."""
    counts = Counter(_status_filter(entry) for entry in entries)
    return SessionCounts(
        total=len(entries), running=counts[Filter.RUNNING], queued=counts[Filter.QUEUED], stopped=counts[Filter.STOPPED],
        failed=counts[Filter.FAILED], completed=counts[Filter.COMPLETED], unstarted=counts[Filter.UNSTARTED],
        imported=counts[Filter.IMPORTED], shown=len(entries),
    )  # fmt: skip


def models_of(entries: Sequence[Entry]) -> list[str]:
    """Return the ids of the base models, sorted."""
    return sorted({entry.base_model for entry in entries if entry.base_model})

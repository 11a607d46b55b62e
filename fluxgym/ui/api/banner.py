"""Route of the banner: runs that run, wait or need attention, and the line about the machine."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from fastapi import APIRouter
from starlette.responses import Response

from fluxgym.app_settings import Settings
from fluxgym.contract.codes import LIVE, Status
from fluxgym.engines.machine import describe
from fluxgym.engines.registry import engine_for
from fluxgym.runs.paths import OutputsPaths
from fluxgym.sessions.index import EntriesCache, Entry, SessionIndex
from fluxgym.sessions.listing import Session, session_of
from fluxgym.sessions.origin import Origin
from fluxgym.sessions.status_display import status_word
from fluxgym.ui.api.responses import UNCHANGED, if_changed, new_router
from fluxgym.ui.api.session_answers import Banner, BannerCounts, LastEnd, RunningNow
from fluxgym.ui.api.session_rows import SessionRows

MAX_ROWS = 3
MAX_ROWS_UNFOLDED = 30
RUNNING = (Status.RUNNING, Status.STARTING)


@dataclass(frozen=True, kw_only=True)
class RunsByStatus:
    """All runs by status, the same for all pages: running in the order of their start, queued and attention newest first.

    attention are the runs that need attention, whether or not the user has seen them. ended is the run that ended last.
    """

    by_slug: dict[str, Entry]
    running: list[Entry]
    queued: list[Entry]
    attention: list[Entry]
    ended: Entry | None


@dataclass(frozen=True, kw_only=True)
class BannerRuns:
    """The runs of one page's banner by what they do; queued is in the order of the queue; ended are the newest, at most MAX_ROWS."""

    running: list[Entry]
    queued: list[Entry]
    attention: list[Entry]
    ended: list[Entry]

    @property
    def urgent(self) -> list[Entry]:
        """The rows that are shown first: what runs, the next of the queue, what needs attention."""
        return [*self.running, *self.queued[:1], *self.attention]


class BannerRoutes:
    """Route of the banner."""

    def __init__(self, settings: Settings, index: SessionIndex) -> None:
        self._settings = settings
        self._outputs = OutputsPaths(settings.outputs)
        self._index = index
        self._rows = SessionRows(settings)
        self._by_status = EntriesCache(_runs_by_status)

    @property
    def router(self) -> APIRouter:
        """The route, to be included in the application."""
        router = new_router()
        router.add_api_route("/banner", self.banner, response_model=Banner, responses=UNCHANGED)
        return router

    def banner(self, open: str = "", seen: str = "", all: bool = False, version: str = "") -> Banner | Response:
        """Return the banner; 204 if the page has this version already.

        open is the slug of the run that the page shows, which is left out. seen is a JSON object: slug → key of the end that the user has
        seen. all requests every row that needs attention.
        """
        entries = self._index.entries(everything=not version)
        by_status, order = self._by_status(entries), engine_for(self._outputs).queue.slugs()
        runs = _banner_runs(entries, by_status, without=open, seen=_read_seen(seen), order=order)
        limit = MAX_ROWS_UNFOLDED if all else MAX_ROWS
        shown = runs.urgent[:limit] or []
        shown += runs.ended[: max(0, MAX_ROWS - len(shown))]
        hidden = runs.urgent[limit:]
        is_queue_shown = bool(runs.queued) and runs.queued[0] in shown
        answer = Banner(
            version="",
            counts=BannerCounts(  # the open run is left out of the rows, and counted if it runs or waits
                running=len(by_status.running), queued=len(by_status.queued), attention=len(runs.attention), total=len(entries)
            ),
            rows=[row for entry in shown if (row := self._rows.row_of(self._outputs.run(entry.slug)))],
            waiting=len(runs.queued) - 1 if is_queue_shown else 0,
            waiting_names=[entry.name for entry in runs.queued[1:4]] if is_queue_shown else [],
            more=len(hidden),
            more_attention=sum(entry.needs_attention for entry in hidden),
            last_end=_last_end(by_status.ended),
            open_end=by_status.by_slug[open].end if open in by_status.by_slug else "",
            running=self._running(by_status),
            machine=describe(self._settings.outputs),
        )
        return if_changed(answer, version)

    def _running(self, by_status: RunsByStatus) -> RunningNow | None:
        """Return the run that trains, the one that was started first if there are several."""
        entry = next((entry for entry in by_status.running if entry.status is Status.RUNNING), None)
        session = session_of(self._outputs.run(entry.slug)) if entry is not None else None
        if session is None:
            return None
        return RunningNow(slug=session.slug, name=session.name, percent=_percent(session))


def _last_end(entry: Entry | None) -> LastEnd | None:
    if entry is None:
        return None
    return LastEnd(slug=entry.slug, name=entry.name, word=status_word(entry.status, entry.origin, is_stopping=False), at=entry.changed)


def _percent(session: Session) -> int | None:
    step, total = session.progress.get("step"), session.progress.get("total_steps")
    return min(100, int(100 * step / total)) if isinstance(step, (int, float)) and isinstance(total, (int, float)) and total > 0 else None


def _read_seen(text: str) -> Mapping[str, str]:
    """Return the ends that the user has seen, as the browser keeps them; what is not readable counts as not seen."""
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return {slug: key for slug, key in value.items() if isinstance(key, str)} if isinstance(value, dict) else {}


def _runs_by_status(entries: list[Entry]) -> RunsByStatus:
    running = [entry for entry in entries if entry.status in RUNNING]
    return RunsByStatus(
        by_slug={entry.slug: entry for entry in entries},
        running=sorted(running, key=lambda entry: (entry.status is Status.STARTING, entry.started)),
        queued=[entry for entry in entries if entry.status is Status.QUEUED],
        attention=[entry for entry in entries if entry.needs_attention],
        ended=max(
            (entry for entry in entries if entry.status not in LIVE and entry.origin is Origin.TRAINED),
            key=lambda entry: entry.changed,
            default=None,
        ),
    )


def _banner_runs(
    entries: list[Entry], by_status: RunsByStatus, *, without: str, seen: Mapping[str, str], order: Sequence[str]
) -> BannerRuns:
    """Divide the entries, newest first, without the run that is open; order is that of the queue."""
    positions = {slug: number for number, slug in enumerate(order)}
    running = [entry for entry in by_status.running if entry.slug != without]
    queued = [entry for entry in by_status.queued if entry.slug != without]
    queued.sort(key=lambda entry: positions.get(entry.slug, len(order)))
    attention = [entry for entry in by_status.attention if entry.slug != without and seen.get(entry.slug) != entry.end]
    shown = {entry.slug for entry in (*running, *queued, *attention)} | {without}
    return BannerRuns(
        running=running, queued=queued, attention=attention, ended=list(islice((e for e in entries if e.slug not in shown), MAX_ROWS))
    )

"""Route of the banner: what runs, what waits, what needs attention, and the line about the machine."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fastapi import APIRouter
from starlette.responses import Response

from fluxgym.app_settings import Settings
from fluxgym.contract.codes import LIVE, Status
from fluxgym.engines.machine import describe
from fluxgym.engines.registry import engine_for
from fluxgym.runs.paths import OutputsPaths
from fluxgym.sessions.index import Entry, SessionIndex
from fluxgym.sessions.listing import Session, session_of
from fluxgym.sessions.origin import Origin
from fluxgym.ui.api.responses import UNCHANGED, if_changed, new_router
from fluxgym.ui.api.session_answers import Banner, BannerCounts, RunningNow, SessionRow
from fluxgym.ui.api.session_rows import SessionRows

MAX_ROWS = 3
MAX_ROWS_UNFOLDED = 30
RUNNING = (Status.RUNNING, Status.STARTING)


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The runs of the banner by what they do; queued is in the order of the queue, ended newest first."""

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
        parts = _parts(entries, _seen(seen), open, engine_for(self._outputs).waiting())
        limit = MAX_ROWS_UNFOLDED if all else MAX_ROWS
        shown = parts.urgent[:limit] or []
        shown += parts.ended[: max(0, MAX_ROWS - len(shown))]
        hidden = parts.urgent[limit:]
        counted = _parts(entries, _seen(seen), "", [])  # the open run is left out of the rows, and counted if it runs or waits
        is_queue_shown = bool(parts.queued) and parts.queued[0] in shown
        answer = Banner(
            version="",
            counts=BannerCounts(
                running=len(counted.running), queued=len(counted.queued), attention=len(parts.attention), total=len(entries)
            ),
            rows=[row for entry in shown if (row := self._row(entry))],
            waiting=len(parts.queued) - 1 if is_queue_shown else 0,
            waiting_names=[entry.lora_name for entry in parts.queued[1:4]] if is_queue_shown else [],
            more=len(hidden),
            more_attention=sum(entry.needs_attention for entry in hidden),
            last_end=max((entry.changed for entry in entries if entry.status not in LIVE and entry.origin is Origin.TRAINED), default=0.0),
            open_end=next((entry.end for entry in entries if entry.slug == open), ""),
            running=self._running(entries),
            machine=describe(self._settings.outputs),
        )
        return if_changed(answer, version)

    def _row(self, entry: Entry) -> SessionRow | None:
        session = session_of(self._outputs.run(entry.slug))
        return self._rows.row(session) if session is not None else None

    def _running(self, entries: list[Entry]) -> RunningNow | None:
        """Return the run that trains, the one that was started first if there are several."""
        entry = next((entry for entry in reversed(entries) if entry.status is Status.RUNNING), None)
        session = session_of(self._outputs.run(entry.slug)) if entry is not None else None
        if session is None:
            return None
        return RunningNow(slug=session.slug, lora_name=session.lora_name, percent=_percent(session))


def _percent(session: Session) -> int | None:
    step, total = session.progress.get("step"), session.progress.get("total_steps")
    return min(100, int(100 * step / total)) if isinstance(step, (int, float)) and isinstance(total, (int, float)) and total > 0 else None


def _seen(text: str) -> Mapping[str, str]:
    """Return the ends that the user has seen, as the browser keeps them; what is not readable counts as not seen."""
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return {slug: key for slug, key in value.items() if isinstance(key, str)} if isinstance(value, dict) else {}


def _parts(entries: list[Entry], seen: Mapping[str, str], open_slug: str, order: Sequence[str]) -> Parts:
    """Divide the entries, newest first, without the run that is open."""
    positions = {slug: number for number, slug in enumerate(order)}
    others = [entry for entry in entries if entry.slug != open_slug]
    running = sorted(
        (entry for entry in others if entry.status in RUNNING), key=lambda entry: (entry.status is Status.STARTING, entry.started)
    )
    queued = [entry for entry in others if entry.status is Status.QUEUED]
    queued.sort(key=lambda entry: positions.get(entry.slug, len(order)))
    attention = [entry for entry in others if entry.needs_attention and seen.get(entry.slug) != entry.end]
    shown = {id(entry) for entry in (*running, *queued, *attention)}
    return Parts(running=running, queued=queued, attention=attention, ended=[entry for entry in others if id(entry) not in shown])

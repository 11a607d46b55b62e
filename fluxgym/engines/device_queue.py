"""The line in front of the devices: one ticket a waiting run, in outputs/.fluxgym/queue. The ticket's owner is that run's own supervisor.

No daemon keeps the line: each supervisor looks whether it is next among those that wait for the same device and are alive. A ticket whose
supervisor has died keeps its place without holding up the others.
"""

import logging
import time
from dataclasses import asdict, dataclass
from typing import Any

from fluxgym.contract.codes import Status
from fluxgym.engines.devices import current_user, title
from fluxgym.engines.local import request_stop, spawn_supervisor
from fluxgym.errors import FluxGymError, SessionError
from fluxgym.runs.files import file_lock, read_json, write_json
from fluxgym.runs.launch_spec import LaunchSpec, read_launch_spec
from fluxgym.runs.paths import OutputsPaths, RunPaths, is_run_name
from fluxgym.runs.process_identity import is_alive, read_record
from fluxgym.runs.state import read_state
from fluxgym.runs.status import derive_status

logger = logging.getLogger(__name__)
REVIVAL_S = 10.0
BUSY = "The queue is being changed by another process; try again in a moment."


@dataclass(frozen=True, kw_only=True)
class Ticket:
    """One run's place in the line; `since`, and when its dead supervisor was last replaced, are in seconds since the epoch."""

    slug: str
    run_id: str
    place: int
    devices: list[str]
    since: float
    revived_at: float = 0.0


class Queue:
    """The line of one outputs folder."""

    def __init__(self, outputs: OutputsPaths) -> None:
        self._outputs = outputs

    def tickets(self) -> list[Ticket]:
        """Return all tickets in the order of the line."""
        named = (path for path in self._outputs.queue.glob("*.json") if is_run_name(path.stem))
        found = [ticket for path in named if (ticket := _read(read_json(path))) and ticket.slug == path.stem]
        return sorted(found, key=lambda ticket: (ticket.place, ticket.since, ticket.slug))

    def enter(self, run: RunPaths, run_id: str, devices: list[str]) -> None:
        """Stand at the end of the line, or keep the place that this very start has had before."""
        with self._changing():
            tickets = self.tickets()
            mine = next((ticket for ticket in tickets if ticket.slug == run.slug and ticket.run_id == run_id), None)
            place = mine.place if mine else max((ticket.place for ticket in tickets), default=0) + 1
            since = mine.since if mine else time.time()
            write_json(run.ticket, asdict(Ticket(slug=run.slug, run_id=run_id, place=place, devices=devices, since=since)))

    def leave(self, run: RunPaths) -> None:
        """Go out of the line."""
        run.ticket.unlink(missing_ok=True)

    def before(self, run: RunPaths) -> list[Ticket]:
        """Return those that wait for a device of this run's, are alive, and stand before it."""
        tickets = self.tickets()
        mine = next((place for place, ticket in enumerate(tickets) if ticket.slug == run.slug), None)
        if mine is None:
            return []
        wanted = set(tickets[mine].devices)
        return [ticket for ticket in tickets[:mine] if wanted & set(ticket.devices) and self._is_active(ticket)]

    def reason(self, run: RunPaths, order: LaunchSpec, before: list[Ticket]) -> str:
        """Say what a run waits for, and who is `before` it: by name only the next, for a line may be long."""
        names = (" or " if order.devices.any_free else " and ").join(title(device) for device in order.devices.names)
        users = sorted({f"“{holder}”" for device in order.devices.names if (holder := current_user(device)) and holder != run.slug})
        held = f", which {' and '.join(users)} {'use' if len(users) > 1 else 'uses'}" if users else ""
        more = f" and {len(before) - 1} more" if len(before) > 1 else ""
        line = f"; before it: {before[0].slug}{more}" if before else "; it is next"
        return f"It waits for {names}{held}{line}."

    def move(self, slug: str, to: int) -> list[Ticket]:
        """Put a waiting run at place `to` (1 is next) and return the line; raises SessionError when it does not wait."""
        with self._changing():
            tickets = self.tickets()
            mine = next((ticket for ticket in tickets if ticket.slug == slug), None)
            if mine is None:
                raise SessionError(f"{slug} does not wait in the queue, so it cannot be moved.")
            tickets.remove(mine)
            tickets.insert(min(max(0, to - 1), len(tickets)), mine)
            for place, ticket in enumerate(tickets, 1):
                if ticket.place != place:
                    write_json(self._outputs.run(ticket.slug).ticket, asdict(ticket) | {"place": place})
        return self.tickets()

    def cancel(self, run: RunPaths) -> None:
        """Let a waiting run go; raises SessionError when it does not wait."""
        if not run.ticket.exists() or not request_stop(run):
            raise SessionError(f"{run.slug} does not wait in the queue, so it cannot be cancelled.")

    def reconcile(self) -> list[str]:
        """Start a supervisor for every waiting run whose own has died, and wait for none; returns their slugs. Never raises."""
        revived = []
        for ticket in self.tickets():
            try:
                if self._restart_supervisor(self._outputs.run(ticket.slug), ticket):
                    revived.append(ticket.slug)
            except (FluxGymError, OSError) as error:
                logger.warning("%s could not be brought back into the queue: %s", ticket.slug, error)
        return revived

    def _restart_supervisor(self, run: RunPaths, ticket: Ticket) -> bool:
        order = read_launch_spec(run)
        if self._is_active(ticket):
            return False
        waits = order is not None and order.run_id == ticket.run_id and derive_status(run, read_state(run)).status is Status.QUEUED
        if not waits or order is None:
            run.ticket.unlink(missing_ok=True)
            return False
        with self._changing():
            write_json(run.ticket, asdict(ticket) | {"revived_at": time.time()})
        spawn_supervisor(run, order, wait=False)
        return True

    def _is_active(self, ticket: Ticket) -> bool:
        """Return True if a ticket's supervisor lives, or was started a moment ago and is about to: nobody may slip in before it meanwhile."""
        if abs(time.time() - ticket.revived_at) < REVIVAL_S:
            return True
        record = read_record(self._outputs.run(ticket.slug))
        return record is not None and record.run_id == ticket.run_id and is_alive(record.supervisor)

    def _changing(self) -> Any:
        return file_lock(self._outputs.queue / "lock", timeout_s=10, busy=BUSY)


def _read(value: Any) -> Ticket | None:
    try:
        ticket = Ticket(**value)
    except TypeError:
        return None
    whole = isinstance(ticket.place, int) and _is_moment(ticket.since) and _is_moment(ticket.revived_at) and _are_texts(ticket.devices)
    return ticket if whole and isinstance(ticket.slug, str) and isinstance(ticket.run_id, str) else None


def _is_moment(value: Any) -> bool:
    return isinstance(value, (int, float))


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)

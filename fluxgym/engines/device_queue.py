"""The queue in front of the devices: one ticket file per waiting run in outputs/.fluxgym/queue, written by that run's own supervisor.

There is no queue process: each supervisor checks whether its run is next among the waiting runs that want the same device and whose
supervisors are alive. The ticket of a dead supervisor keeps its position without blocking the others.
"""

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

from fluxgym.engines.devices import DeviceUser, current_user, title
from fluxgym.errors import SessionError
from fluxgym.runs.files import file_lock, read_json, write_json
from fluxgym.runs.launch_spec import DeviceRequest
from fluxgym.runs.paths import OutputsPaths, RunPaths, is_run_name
from fluxgym.runs.process_identity import Liveness, is_alive, liveness_of, read_record
from fluxgym.runs.snapshot import RunSnapshot
from fluxgym.runs.status import ACTIVITY_LIMIT_S

RESTART_GRACE_S = 10.0
BUSY = "Another process is changing the queue; try again in a moment."


@dataclass(frozen=True, kw_only=True)
class Ticket:
    """One waiting run. since, and restarted_at of its dead supervisor, are in seconds since the epoch; 0 is never."""

    slug: str
    run_id: str
    position: int
    devices: tuple[str, ...]
    since: float
    restarted_at: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return what a ticket file holds; supervisors of earlier versions read the same keys."""
        return {
            "slug": self.slug, "run_id": self.run_id, "place": self.position, "devices": list(self.devices), "since": self.since,
            "revived_at": self.restarted_at,
        }  # fmt: skip

    @classmethod
    def from_json(cls, value: Any) -> "Ticket | None":
        """Read a ticket file, None if it is damaged."""
        try:
            ticket = cls(
                slug=value["slug"], run_id=value["run_id"], position=value["place"], devices=tuple(value["devices"]), since=value["since"],
                restarted_at=value.get("revived_at", 0.0),
            )  # fmt: skip
        except (AttributeError, KeyError, TypeError):
            return None
        is_usable = isinstance(ticket.position, int) and all(
            isinstance(time_s, (int, float)) for time_s in (ticket.since, ticket.restarted_at)
        )
        is_named = all(isinstance(text, str) for text in (ticket.slug, ticket.run_id, *ticket.devices))
        return ticket if is_usable and is_named and isinstance(value["devices"], list) else None


class Queue:
    """The tickets of one outputs folder."""

    def __init__(self, outputs: OutputsPaths) -> None:
        self._outputs = outputs

    def tickets(self) -> list[Ticket]:
        """Return all tickets in the order of the queue."""
        named = (path for path in self._outputs.queue.glob("*.json") if is_run_name(path.stem))
        found = [ticket for path in named if (ticket := Ticket.from_json(read_json(path))) and ticket.slug == path.stem]
        return sorted(found, key=lambda ticket: (ticket.position, ticket.since, ticket.slug))

    def ticket(self, run: RunPaths) -> Ticket | None:
        """Return the ticket of a run, None if it does not wait."""
        return Ticket.from_json(read_json(run.ticket))

    def join(self, run: RunPaths, run_id: str, devices: Sequence[str]) -> None:
        """Write a ticket at the end of the queue, or at the position that this start has had before."""
        with self._lock():
            tickets = self.tickets()
            earlier = next((ticket for ticket in tickets if ticket.slug == run.slug and ticket.run_id == run_id), None)
            position = earlier.position if earlier else max((ticket.position for ticket in tickets), default=0) + 1
            since = earlier.since if earlier else time.time()
            self._write(Ticket(slug=run.slug, run_id=run_id, position=position, devices=tuple(devices), since=since))

    def remove(self, run: RunPaths, run_id: str) -> None:
        """Remove the ticket of a start. A ticket of another start with the same name stays."""
        ticket = self.ticket(run)
        if ticket is None or ticket.run_id == run_id:
            run.ticket.unlink(missing_ok=True)

    def ahead_of(self, run: RunPaths) -> list[Ticket]:
        """Return the tickets ahead of a run that want one of its devices and whose supervisors are alive."""
        tickets = self.tickets()
        index = next((index for index, ticket in enumerate(tickets) if ticket.slug == run.slug), None)
        if index is None:
            return []
        wanted = set(tickets[index].devices)
        return [ticket for ticket in tickets[:index] if wanted & set(ticket.devices) and self.is_active(ticket)]

    def move(self, slug: str, position: int) -> None:
        """Move a waiting run to a position, 1 is next.

        Raises:
            SessionError: If it does not wait.
        """
        with self._lock():
            tickets = self.tickets()
            moved = next((ticket for ticket in tickets if ticket.slug == slug), None)
            if moved is None:
                raise SessionError(f"{slug} does not wait in the queue, so it cannot be moved.")
            tickets.remove(moved)
            tickets.insert(min(max(0, position - 1), len(tickets)), moved)
            for number, ticket in enumerate(tickets, 1):
                if ticket.position != number:
                    self._write(replace(ticket, position=number))

    def mark_restarted(self, ticket: Ticket) -> None:
        """Record that a ticket's supervisor is being restarted, so that it counts as active until it has recorded itself."""
        with self._lock():
            self._write(replace(ticket, restarted_at=time.time()))

    def is_active(self, ticket: Ticket) -> bool:
        """Return True if a ticket's supervisor is alive, or was restarted a moment ago."""
        if abs(time.time() - ticket.restarted_at) < RESTART_GRACE_S:
            return True
        record = read_record(self._outputs.run(ticket.slug))
        return record is not None and record.run_id == ticket.run_id and is_alive(record.supervisor)

    def is_abandoned(self, ticket: Ticket) -> bool:
        """Return True if nothing would start a ticket's run any more: no supervisor here, and none on another host that renews its lease."""
        return not self.is_active(ticket) and not self.waits_elsewhere(ticket)

    def waits_elsewhere(self, ticket: Ticket) -> bool:
        """Return True if a supervisor on another host has shown a sign of life recently, by the clock of the disk."""
        run = self._outputs.run(ticket.slug)
        record = read_record(run)
        if record is None or record.supervisor is None or record.run_id != ticket.run_id:
            return False
        if liveness_of(record.supervisor) is not Liveness.OTHER_HOST:
            return False
        return abs(time.time() - RunSnapshot(run, {}).last_activity) < ACTIVITY_LIMIT_S

    def _write(self, ticket: Ticket) -> None:
        write_json(self._outputs.run(ticket.slug).ticket, ticket.to_json())

    def _lock(self) -> AbstractContextManager[None]:
        return file_lock(self._outputs.queue / "lock", timeout_s=10, busy=BUSY)


def waiting_reason(run: RunPaths, request: DeviceRequest, ahead: Sequence[Ticket]) -> str:
    """Return what a run waits for: its devices, who uses them, and the runs ahead of it, of which only the next is named.

    Runs of other outputs folders have queues of their own; which of them gets a free device first is not known.
    """
    names = (" or " if request.any_free else " and ").join(title(device) for device in request.names)
    found = (current_user(device) for device in request.names)
    users = sorted({_user_name(user, run) for user in found if user is not None and user.slug and not user.is_run(run.folder)})
    in_use = f", which {' and '.join(users)} {'use' if len(users) > 1 else 'uses'}" if users else ""
    more = f" and {len(ahead) - 1} more" if len(ahead) > 1 else ""
    position = f"; ahead of it: {ahead[0].slug}{more}" if ahead else "; it is first in this queue"
    return f"Waiting for {names}{in_use}{position}."


def _user_name(user: DeviceUser, run: RunPaths) -> str:
    return f"“{user.slug}”" + (" of another outputs folder" if user.is_elsewhere(run.folder) else "")

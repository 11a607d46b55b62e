"""The queue in front of the devices: one ticket file per waiting run in outputs/.fluxgym/queue, in the order in which they wait.

A waiting run has no process. `waiting_runs.py` has who starts it, `dispatcher.py` is the process that does.
"""

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

from fluxgym.errors import SessionError
from fluxgym.runs.atomic_files import write_json
from fluxgym.runs.locks import file_lock
from fluxgym.runs.paths import OutputsPaths, RunPaths, is_run_name
from fluxgym.runs.ticket import Ticket, read_ticket

BUSY = "Another process is changing the queue; try again in a moment."


class Tickets:
    """The tickets of one outputs folder."""

    def __init__(self, outputs: OutputsPaths) -> None:
        self._outputs = outputs

    def all(self) -> list[Ticket]:
        """Return all tickets in the order of the queue."""
        named = (path for path in self._outputs.queue.glob("*.json") if is_run_name(path.stem))
        found = [ticket for path in named if (ticket := read_ticket(self._outputs.run(path.stem))) is not None]
        return sorted(found, key=lambda ticket: (ticket.position, ticket.since, ticket.slug))

    def join(self, run: RunPaths, run_id: str, devices: Sequence[str]) -> None:
        """Write a ticket at the end of the queue, or at the position that this start has had before."""
        with self._lock():
            tickets = self.all()
            earlier = next((ticket for ticket in tickets if ticket.slug == run.slug and ticket.run_id == run_id), None)
            position = earlier.position if earlier else max((ticket.position for ticket in tickets), default=0) + 1
            since = earlier.since if earlier else time.time()
            ticket = Ticket(slug=run.slug, run_id=run_id, position=position, devices=tuple(devices), since=since)
            if ticket != earlier:
                self._write(ticket)

    def remove(self, run: RunPaths, run_id: str) -> None:
        """Remove the ticket of a start, or a damaged one; that of another start, which took the name of a removed run, stays."""
        if not run.ticket.exists():
            return
        with self._lock():
            ticket = read_ticket(run)
            if ticket is None or ticket.run_id == run_id:
                run.ticket.unlink(missing_ok=True)

    def move(self, slug: str, position: int) -> None:
        """Move a waiting run to a position, 1 is next.

        Raises:
            SessionError: If it does not wait.
        """
        with self._lock():
            tickets = self.all()
            moved = next((ticket for ticket in tickets if ticket.slug == slug), None)
            if moved is None:
                raise SessionError(f"{slug} does not wait in the queue, so it cannot be moved.")
            tickets.remove(moved)
            tickets.insert(min(max(0, position - 1), len(tickets)), moved)
            for number, ticket in enumerate(tickets, 1):
                if ticket.position != number:
                    self._write(replace(ticket, position=number))

    def _write(self, ticket: Ticket) -> None:
        write_json(self._outputs.run(ticket.slug).ticket, ticket.to_json())

    def _lock(self) -> AbstractContextManager[None]:
        return file_lock(self._outputs.queue / "lock", timeout_s=10, busy=BUSY)

"""The ticket of a run that waits in the queue, as every reader parses it."""

from dataclasses import dataclass
from typing import Any

from fluxgym.contract.progress import is_number
from fluxgym.runs.atomic_files import read_json
from fluxgym.runs.paths import RunPaths

LATEST = 1e11  # seconds since the epoch, far in the future
LAST_POSITION = 1 << 31


@dataclass(frozen=True, kw_only=True)
class Ticket:
    """One waiting run. since is in seconds since the epoch."""

    slug: str
    run_id: str
    position: int
    devices: tuple[str, ...]
    since: float

    def to_json(self) -> dict[str, Any]:
        """Return what a ticket file holds; processes of earlier versions read the same keys."""
        return {"slug": self.slug, "run_id": self.run_id, "place": self.position, "devices": list(self.devices), "since": self.since}

    @classmethod
    def from_json(cls, value: Any) -> "Ticket | None":
        """Read a ticket file, None if it is damaged: a wrong type, or a number that no queue writes."""
        try:
            devices, position, since = value["devices"], value["place"], value["since"]
            ticket = cls(slug=value["slug"], run_id=value["run_id"], position=position, devices=tuple(devices), since=since)
        except (AttributeError, KeyError, TypeError):
            return None
        is_named = isinstance(devices, list) and all(isinstance(text, str) for text in (ticket.slug, ticket.run_id, *devices))
        is_placed = isinstance(position, int) and not isinstance(position, bool) and 0 <= position <= LAST_POSITION
        is_dated = is_number(since) and 0 <= since < LATEST
        return ticket if is_named and is_placed and is_dated else None


def read_ticket(run: RunPaths) -> Ticket | None:
    """Return the ticket of a run, None if it does not wait or the ticket is damaged or another run's."""
    ticket = Ticket.from_json(read_json(run.ticket))
    return ticket if ticket is not None and ticket.slug == run.slug else None

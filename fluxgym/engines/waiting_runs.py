"""The runs that wait in the queue of an outputs folder: which process starts each of them, and how its wait ends."""

import logging
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from fluxgym.config.values import short
from fluxgym.contract.codes import ReasonCode, Status
from fluxgym.engines.tickets import Tickets
from fluxgym.errors import NotReadableNow, describe_error
from fluxgym.runs.atomic_files import remove_file
from fluxgym.runs.exit_record import ExitRecord, record_end
from fluxgym.runs.launch_spec import LaunchSpec, holds_start, read_launch_spec, read_own_launch_spec, read_stop_request
from fluxgym.runs.path_checks import is_missing
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.process_identity import Liveness, is_alive, liveness_of, read_record
from fluxgym.runs.snapshot import WAITING, RunSnapshot
from fluxgym.runs.state import State, read_state_or_empty, shown_name
from fluxgym.runs.status import ACTIVITY_LIMIT_S
from fluxgym.runs.ticket import Ticket, read_ticket

NO_LAUNCH_SPEC = "It waited for its device, but its .run/launch.json is missing or damaged, so nothing could be started. Start it again."
Signature = tuple[object, ...]
log = logging.getLogger(__name__)


class Starter(StrEnum):
    """Who starts a waiting run."""

    DISPATCHER = "dispatcher"
    OWN_SUPERVISOR = "own supervisor"  # a process of it is alive: it was started a moment ago, or is of an earlier version and waits itself
    OTHER_HOST = "other host"  # the dispatcher of another host, whose heartbeat is recent
    APP = "app"  # this installation did not sign its launch.json: an app that starts prepares it again
    NOTHING = "nothing"  # its launch.json is missing or damaged
    ENDED = "ended"  # it does not wait any more, and its ticket is left over
    UNKNOWN = "unknown"  # reading its files fails with an error of this program


@dataclass(frozen=True, kw_only=True)
class WaitingRun:
    """A ticket with what the files of its run contain.

    status and reason are the stored ones, name is the LoRA's; other_host is the host that recorded it, "" for this one.
    """

    run: RunPaths
    ticket: Ticket
    starter: Starter
    spec: LaunchSpec | None
    status: str
    reason: str
    name: str
    other_host: str
    stop_requested: bool

    @property
    def devices(self) -> frozenset[str]:
        """The names of the devices that it wants."""
        return frozenset(self.ticket.devices)

    @property
    def is_ahead_of_others(self) -> bool:
        """True if the runs behind it wait for it: it is started on this host in its turn."""
        return self.starter in (Starter.DISPATCHER, Starter.OWN_SUPERVISOR)


class WaitingRuns:
    """The waiting runs of one outputs folder. Files are read again when they have changed."""

    def __init__(self, outputs: OutputsPaths) -> None:
        self._outputs, self._tickets = outputs, Tickets(outputs)
        self._cached: dict[str, tuple[Signature, WaitingRun]] = {}

    def all(self) -> list[WaitingRun]:
        """Return the runs that have a ticket, in the order of the queue.

        Raises:
            NotReadableNow: If nothing can be known about one now.
        """
        self._cached = {ticket.slug: self._read(ticket) for ticket in self._tickets.all()}
        return [waiting for _, waiting in self._cached.values()]

    def of(self, run: RunPaths) -> WaitingRun | None:
        """Return a run that has a ticket or has lost it, else None."""
        ticket = read_ticket(run) or _lost_ticket(run)
        return None if ticket is None else read_waiting_run(run, ticket)

    def drop(self, waiting: WaitingRun) -> bool:
        """Remove the ticket of a run that does not wait any more, or that cannot be started and is recorded as failed; return True for these.

        Raises:
            StorageError: As `end` does.
        """
        if waiting.starter is Starter.ENDED:
            self._tickets.remove(waiting.run, waiting.ticket.run_id)
            return True
        if waiting.starter is Starter.NOTHING:
            log.warning("%s, which waits in the queue, cannot be started: its launch.json is missing or damaged", waiting.run.slug)
            self.end(waiting, Status.FAILED, ReasonCode.LAUNCH, NO_LAUNCH_SPEC)
            return True
        return False

    def end(self, waiting: WaitingRun, status: Status, code: ReasonCode, reason: str) -> None:
        """Record how the wait of a run without a process ended, and remove its ticket; a run that was started meanwhile is not changed.

        Raises:
            StorageError: If its state cannot be written. Then it keeps its ticket.
        """
        run, run_id, attempt = waiting.run, waiting.ticket.run_id, waiting.spec.attempt if waiting.spec is not None else 1
        if not is_missing(run.ui_state):  # to lock the state would create the folder again
            record = ExitRecord(run_id=run_id, attempt=attempt, status=status, reason_code=code, reason=reason, ended_at=time.time())
            for _ in range(len(WAITING)):  # the dispatcher may write the other status that a waiting run can have meanwhile
                stored = read_state_or_empty(run).get("status")
                if str(stored) not in WAITING or record_end(run, record, expected={"run_id": run_id, "status": stored}):
                    break
            remove_file(run.stop_reserve)
        self._tickets.remove(run, run_id)

    def _read(self, ticket: Ticket) -> tuple[Signature, WaitingRun]:
        run, cached = self._outputs.run(ticket.slug), self._cached.get(ticket.slug)
        signature = _signature(run, ticket)
        depends_on_time = cached is not None and cached[1].starter in (Starter.OWN_SUPERVISOR, Starter.OTHER_HOST)
        if cached is not None and cached[0] == signature and not depends_on_time:
            return cached
        return signature, _read_or_unknown(run, ticket)


def _lost_ticket(run: RunPaths) -> Ticket | None:
    snapshot = RunSnapshot.read(run)
    if not snapshot.has_lost_ticket or (spec := snapshot.launch_spec) is None:
        return None
    return Ticket(slug=run.slug, run_id=spec.run_id, position=0, devices=spec.devices.names, since=time.time())


def _read_or_unknown(run: RunPaths, ticket: Ticket) -> WaitingRun:
    """Return what the files of a run contain. A run whose files cause an error of this program does not stop the others."""
    try:
        return read_waiting_run(run, ticket)
    except NotReadableNow:
        raise
    except Exception as error:  # noqa: BLE001
        log.warning("%s, which waits in the queue, cannot be read: %s", run.slug, describe_error(error))
    return WaitingRun(
        run=run, ticket=ticket, spec=None, starter=Starter.UNKNOWN, status="", reason="", name=run.slug, other_host="", stop_requested=False
    )


def read_waiting_run(run: RunPaths, ticket: Ticket) -> WaitingRun:
    """Return what the files of a run with this ticket contain."""
    spec, record, state = read_launch_spec(run), read_record(run), read_state_or_empty(run)
    processes = () if record is None or record.run_id != ticket.run_id else (record.supervisor, record.trainer)
    other_host = next((process.host for process in processes if process and liveness_of(process) is Liveness.OTHER_HOST), "")
    stop_request = None if spec is None else read_stop_request(run, ticket.run_id, spec.attempt)
    if any(is_alive(process) for process in processes):
        starter = Starter.OWN_SUPERVISOR
    elif other_host and abs(time.time() - RunSnapshot(run, {}).last_activity) < ACTIVITY_LIMIT_S:  # by the clock of the disk
        starter = Starter.OTHER_HOST
    else:
        starter = _starter_of_files(run, ticket, spec, state)
    return WaitingRun(
        run=run, ticket=ticket, spec=spec, starter=starter, status=str(state.get("status") or ""), reason=str(state.get("reason") or ""),
        name=short(shown_name(run.slug, state)), other_host=other_host, stop_requested=stop_request is not None,
    )  # fmt: skip


def _starter_of_files(run: RunPaths, ticket: Ticket, spec: LaunchSpec | None, state: State) -> Starter:
    if not holds_start(run, ticket.run_id) or (state and str(state.get("status")) not in WAITING):
        return Starter.ENDED
    if spec is None:
        return Starter.NOTHING
    if spec.run_id != ticket.run_id:
        return Starter.ENDED
    return Starter.APP if read_own_launch_spec(run) is None else Starter.DISPATCHER


def _signature(run: RunPaths, ticket: Ticket) -> Signature:
    """Return a value that changes with every file that determines which process starts a waiting run."""
    paths = (run.ui_state, run.launch, run.process, run.lease, run.stop, run.stop_reserve)
    return (ticket, *(file_signature(path) for path in paths))


def file_signature(path: Path) -> Signature | None:
    """Return a value that changes when a file is changed or replaced, None if there is none."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def with_those_ahead(runs: Sequence[WaitingRun]) -> Iterator[tuple[WaitingRun, list[WaitingRun]]]:
    """Yield each waiting run with the runs ahead of it that want one of its devices and are started before it."""
    ahead: list[WaitingRun] = []
    for waiting in runs:
        yield waiting, [other for other in ahead if waiting.devices & other.devices]
        if waiting.is_ahead_of_others:
            ahead.append(waiting)

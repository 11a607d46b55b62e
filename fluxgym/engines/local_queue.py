"""The queue of the local engine: which run gets devices next, and a dispatcher that starts it."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from fluxgym.contract.codes import ReasonCode, Status
from fluxgym.engines.base import CANCELED_REASON, LOST_POSITION
from fluxgym.engines.devices import LockedDevices, acquire_devices
from fluxgym.engines.dispatcher_process import DispatcherProcess
from fluxgym.engines.process_state import state_of_record
from fluxgym.engines.tickets import Tickets
from fluxgym.engines.waiting_reasons import WAITS_FOR_APP, WaitingReasons
from fluxgym.engines.waiting_runs import Signature, Starter, WaitingRun, WaitingRuns, file_signature, with_those_ahead
from fluxgym.errors import FluxGymError, NotReadableNow, describe_error
from fluxgym.runs.launch_spec import LaunchSpec
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.snapshot import RunSnapshot
from fluxgym.runs.status import ACTIVITY_LIMIT_S, EXECUTING, EnginePhase, EngineState
from fluxgym.runs.ticket import read_ticket

log = logging.getLogger(__name__)


class LocalQueue:
    """The waiting runs of one outputs folder on this machine. State is in files, so any process may create one; one that is kept reads less."""

    def __init__(self, outputs: OutputsPaths) -> None:
        self._outputs = outputs
        self._tickets, self._waiting, self._dispatcher = Tickets(outputs), WaitingRuns(outputs), DispatcherProcess(outputs)
        self._not_queued: dict[str, Signature] = {}  # slug -> signature of a ui_state.json with another status

    def acquire(
        self, run: RunPaths, spec: LaunchSpec, *, is_canceled: Callable[[], bool], waiting: Callable[[str], None]
    ) -> LockedDevices | None:
        """Return the locks on the devices of a run. If it has to wait, return None and leave its ticket to the dispatcher."""
        self._tickets.join(run, spec.run_id, spec.devices.names)
        is_left = False
        try:
            with suppress(NotReadableNow):  # who is ahead is not known now: the dispatcher looks again
                if not is_canceled() and (devices := self._acquire_in_turn(run, spec, waiting)) is not None:
                    return devices
            if is_left := not is_canceled():
                self._start_dispatcher()
            return None
        finally:
            if not is_left:
                with suppress(FluxGymError):  # then the dispatcher removes it
                    self._tickets.remove(run, spec.run_id)

    def _acquire_in_turn(self, run: RunPaths, spec: LaunchSpec, waiting: Callable[[str], None]) -> LockedDevices | None:
        """Return the locks on the devices, or None after a call of `waiting` if they are in use or runs ahead wait for them."""
        ahead = next((ahead for other, ahead in with_those_ahead(self._waiting.all()) if other.run.slug == run.slug), [])
        reserved = frozenset[str]().union(*(other.devices for other in ahead))
        devices = acquire_devices(spec.devices, run.folder, reserved_by_earlier=reserved)
        if devices is None:
            waiting(WaitingReasons(others_wait=self._dispatcher.other_queues()).reason(run, spec.devices, ahead))
        return devices

    def _start_dispatcher(self) -> None:
        """Make sure that a dispatcher is alive. If that fails, only the log has the reason; the run's status reports that nothing starts it."""
        try:
            self._dispatcher.ensure()
        except (FluxGymError, OSError) as error:
            log.error("%s", error)

    def observe(self, snapshot: RunSnapshot) -> EngineState:
        """Return the state of a run: that of its processes, else WAITING if it waits here."""
        state = state_of_record(snapshot.process_record, time.time())
        if state.phase in EXECUTING or not (snapshot.is_queued or snapshot.has_lost_ticket):
            return state
        if state.phase is EnginePhase.UNREACHABLE and abs(state.observed_at - snapshot.last_activity) < ACTIVITY_LIMIT_S:
            return state
        reason = LOST_POSITION if snapshot.has_lost_ticket else self._dispatcher.problem(snapshot.run.slug)
        return EngineState(phase=EnginePhase.WAITING, reason=reason, observed_at=state.observed_at)

    def cancel(self, run: RunPaths) -> None:
        """End the wait of a run that has no process; other runs are not changed."""
        if (waiting := self._waiting.of(run)) is not None and waiting.starter in (Starter.DISPATCHER, Starter.APP):
            self._waiting.end(waiting, Status.STOPPED, ReasonCode.USER, CANCELED_REASON)

    def abandoned(self) -> tuple[str, ...]:
        """Return the slugs of the waiting runs that nothing would start any more, the next first."""
        return tuple(waiting.run.slug for waiting in self._abandoned(self._waiting.all()))

    def _abandoned(self, runs: Sequence[WaitingRun]) -> list[WaitingRun]:
        starters = {Starter.APP, Starter.DISPATCHER} if self._dispatcher.problem() else {Starter.APP}
        return [waiting for waiting in runs if waiting.starter in starters]

    def reconcile(self) -> tuple[str, ...]:
        """Make sure that a dispatcher is alive if runs wait, and return the names of those that nothing would have started. Never raises."""
        try:
            restored = self._restore_tickets()
            runs = [waiting for waiting in self._waiting.all() if not self._try_to_drop(waiting)]
            abandoned = [waiting.run.slug for waiting in self._abandoned(runs) if waiting.starter is Starter.DISPATCHER]
            if any(waiting.starter is not Starter.OWN_SUPERVISOR for waiting in runs):
                self._dispatcher.ensure()
        except Exception as error:  # the app's queue thread must survive  # noqa: BLE001
            log.warning("the runs that wait in the queue could not be continued: %s", describe_error(error))
            return ()
        return tuple(dict.fromkeys([*abandoned, *restored]))

    def _restore_tickets(self) -> list[str]:
        """Write tickets at the end of the queue for runs that have lost theirs, and return their names."""
        restored = []
        for run, spec in self._without_ticket():
            try:
                self._tickets.join(run, spec.run_id, spec.devices.names)
            except Exception as error:  # noqa: BLE001  of one run's files
                log.warning("%s: %s", run.slug, describe_error(error))
                continue
            log.warning("%s had lost its position in the queue and is at its end now", run.slug)
            restored.append(run.slug)
        return restored

    def _without_ticket(self) -> list[tuple[RunPaths, LaunchSpec]]:
        """Return the runs that have lost their tickets with their launch specs, in the order in which they were queued."""
        found = []
        earlier, self._not_queued = self._not_queued, {}
        for run in self._outputs.runs():
            try:
                signature = file_signature(run.ui_state)
                snapshot = None if signature is not None and earlier.get(run.slug) == signature else RunSnapshot.read(run)
                if signature is not None and (snapshot is None or str(snapshot.state.get("status", Status.QUEUED)) != Status.QUEUED):
                    self._not_queued[run.slug] = signature
                if snapshot is None or not snapshot.has_lost_ticket or self.observe(snapshot).phase is not EnginePhase.WAITING:
                    continue
                if (spec := snapshot.launch_spec) is not None and (record := snapshot.process_record) is not None:
                    found.append((record.started_at, run.slug, run, spec))
            except Exception as error:  # noqa: BLE001  of one run's files
                log.warning("%s: %s", run.slug, describe_error(error))
        return [(run, spec) for _, _, run, spec in sorted(found, key=lambda each: each[:2])]

    def _try_to_drop(self, waiting: WaitingRun) -> bool:
        """Return True if a run does not wait any more; an error that concerns one run does not stop the others."""
        try:
            return self._waiting.drop(waiting)
        except Exception as error:  # noqa: BLE001
            log.warning("%s, which waits in the queue: %s", waiting.run.slug, describe_error(error))
            return False

    def move(self, run: RunPaths, position: int) -> None:
        """Move a waiting run to a position in the queue, 1 is next.

        Raises:
            SessionError: If it does not wait.
        """
        self._tickets.move(run.slug, position)

    def slugs(self) -> tuple[str, ...]:
        """Return the slugs of the waiting runs, the next first."""
        return tuple(ticket.slug for ticket in self._tickets.all())

    def without_position(self) -> tuple[str, ...]:
        """Return the slugs of the runs that wait but have lost their position, in the order in which they were queued; reads every run."""
        return tuple(run.slug for run, _ in self._without_ticket())

    def reasons(self) -> Mapping[str, str]:
        """Return what each waiting run waits for now, the next run first; a run whose folder or launch spec is gone is left out."""
        reasons = WaitingReasons(others_wait=self._dispatcher.other_queues())
        reason_of = {}
        for waiting, ahead in with_those_ahead(self._waiting.all()):
            if waiting.starter is Starter.OTHER_HOST:
                reason_of[waiting.run.slug] = f"It waits on another machine, {waiting.other_host}."
            elif waiting.starter is Starter.APP or self._is_left_to_another_app(waiting):
                reason_of[waiting.run.slug] = WAITS_FOR_APP
            elif waiting.spec is not None and waiting.is_ahead_of_others:
                reason = reasons.reason(waiting.run, waiting.spec.devices, ahead)
                reason_of[waiting.run.slug] = (
                    reason if waiting.starter is Starter.OWN_SUPERVISOR else self._dispatcher.problem(waiting.run.slug) or reason
                )
        return reason_of

    def _is_left_to_another_app(self, waiting: WaitingRun) -> bool:
        """Return True if the dispatcher is that of another installation with the same locks: it does not start the runs of this one."""
        return waiting.reason == WAITS_FOR_APP and not self._dispatcher.problem()

    def waiting_since(self, run: RunPaths) -> float | None:
        """Return when a run joined the queue, None if it does not wait."""
        ticket = read_ticket(run)
        return None if ticket is None else float(ticket.since)

"""A small model of the truth beside real processes: after any actions in any order, the list equals the model.

Two runs share one device. Hypothesis draws the order of starts, stops, kills, freezes (also of the dispatcher), resumes, damage, renames, reboots
and clock jumps;
after each of them the page's long-lived index, a fresh one, and the terminal's list must all come to what the model holds. `FLUXGYM_EXAMPLES`
draws more; `make faults` does.
"""

import contextlib
import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fluxgym.engines import local
from fluxgym.engines.dispatcher_process import DISPATCHER_ENDED, DispatcherProcess
from fluxgym.engines.registry import engine_for
from fluxgym.errors import AlreadyRunning, FluxGymError, NameTaken, SessionError
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.process_identity import group_members, is_alive, read_record
from fluxgym.sessions.control import stop
from fluxgym.sessions.index import SessionIndex
from fluxgym.sessions.listing import list_sessions
from fluxgym.sessions.resume import resume
from fluxgym.sessions.start import StartRequest, start
from tests.support.photos import write_cats
from tests.support.runs import wait_for
from tests.support.small_installation import small_installation, state
from tests.support.truth_model import Model, catches_stop

NAMES = ("ann", "ben")
PATIENCE_S = 20.0


def act(applies: Callable[[Model], bool]) -> Callable[[Callable[..., None]], Any]:
    """Make a rule of what is done to one run, drawn among those that it applies to."""

    def wrap(done: Callable[..., None]) -> Any:
        def drawn(self: "Truth", data: st.DataObject) -> None:
            name = data.draw(st.sampled_from([name for name, model in self.models.items() if applies(model)]))
            event(done.__name__)
            done(self, name)

        drawn.__name__, drawn.__doc__ = done.__name__, done.__doc__
        return precondition(lambda self: any(applies(model) for model in self.models.values()))(rule(data=st.data())(drawn))

    return wrap


class Truth(RuleBasedStateMachine):
    """The machine; every rule changes the world and the model alike."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="truth-"))
        self.environment = pytest.MonkeyPatch()
        self.environment.setenv("TEST_HOLD", str(self.folder / "hold"))
        self.environment.setenv("FLUXGYM_LOCKS", str(self.folder / "locks"))
        (self.folder / "hold").mkdir()
        self.world = small_installation(self.folder)
        self.images = self.folder / "images"
        write_cats(self.images, count=4, size=64, caption="a cat")
        self.outputs = OutputsPaths(self.world.outputs)
        self.index = SessionIndex(self.world.outputs)
        self.models = {name: Model() for name in NAMES}
        self.line: list[str] = []  # of waiting runs
        self.dispatcher = DispatcherProcess(self.outputs)
        self.is_served = self.is_dispatcher_frozen = False

    # -- what is done ------------------------------------------------------------------------------------------------------------

    @initialize()
    def begin(self) -> None:
        """No story without a run."""
        self._start("ann")

    @act(lambda model: not model.exists)
    def start(self, name: str) -> None:
        """Start a run; a dead or frozen dispatcher comes back with it."""
        self._start(name)

    def _start(self, name: str) -> None:
        self._revived_by_a_start()
        self._begins(name, lambda: self._request(name))
        self.models[name].exists = True

    @act(lambda model: model.exists)
    def start_again(self, name: str) -> None:
        """Start a name that is taken: refused, whatever the run does."""
        with pytest.raises(NameTaken):
            self._request(name)

    @act(lambda model: model.exists and not model.is_busy and not model.damaged and model.has_checkpoint and model.ended != "completed")
    def resume(self, name: str) -> None:
        """Go on from the checkpoint."""
        (self.folder / "hold" / name).touch()
        self._begins(name, lambda: resume(self.run_of(name), settings=self.world))

    @act(lambda model: model.exists and model.is_busy)
    def resume_what_lives(self, name: str) -> None:
        """Resume while anything of it lives or waits: refused."""
        with pytest.raises(AlreadyRunning):
            resume(self.run_of(name), settings=self.world)

    @act(lambda model: model.exists and not model.is_busy and (model.damaged or not model.has_checkpoint))
    def resume_what_cannot(self, name: str) -> None:
        """Resume without a checkpoint, or without settings that can be read: refused."""
        with pytest.raises(FluxGymError):
            resume(self.run_of(name), settings=self.world)

    @act(lambda model: model.is_busy)
    def stop(self, name: str) -> None:
        """Stop kindly: takes over from a dead supervisor, wakes a frozen one and a frozen trainer, leaves the queue."""
        model = self.models[name]
        saves, how = model.trainer, "stopped" if model.trainer or model.queued else model.thawed_end
        stop(self.run_of(name))
        self._end(name, how)
        model.has_checkpoint |= saves

    @act(lambda model: model.is_busy)
    def stop_now(self, name: str) -> None:
        """Stop at once."""
        model = self.models[name]
        how = "stopped" if model.trainer or model.queued else model.thawed_end
        stop(self.run_of(name), now=True)
        self._end(name, how)

    @act(lambda model: model.exists and not model.is_busy)
    def stop_what_has_ended(self, name: str) -> None:
        """Stop what does not run: refused."""
        with pytest.raises(SessionError):
            stop(self.run_of(name))

    @act(lambda model: model.trainer and not model.trainer_frozen)
    def finish(self, name: str) -> None:
        """Let the trainer do its steps."""
        model = self.models[name]
        (self.folder / "hold" / name).unlink(missing_ok=True)
        self._trainer_gone(name)
        self._ends_without_trainer(name, "completed" if model.supervisor else "stopped")

    @act(lambda model: model.trainer)
    def kill_trainer(self, name: str) -> None:
        """Kill -9 the trainer."""
        os.kill(read_record(self.run_of(name)).trainer.pid, signal.SIGKILL)
        self._trainer_gone(name)
        self._ends_without_trainer(name, "stopped")

    @act(lambda model: model.supervisor)
    def kill_supervisor(self, name: str) -> None:
        """Kill -9 the supervisor; the trainer continues."""
        model, record = self.models[name], read_record(self.run_of(name))
        os.kill(record.supervisor.pid, signal.SIGKILL)
        wait_for(lambda: not is_alive(record.supervisor))
        model.supervisor = model.supervisor_frozen = False
        self._let_in()

    @act(lambda model: model.trainer)
    def freeze_or_thaw_trainer(self, name: str) -> None:
        """SIGSTOP or SIGCONT to the trainer."""
        model = self.models[name]
        model.trainer_frozen = not model.trainer_frozen
        os.kill(read_record(self.run_of(name)).trainer.pid, signal.SIGSTOP if model.trainer_frozen else signal.SIGCONT)

    @precondition(lambda self: self.line and self.is_served)
    @rule()
    def kill_dispatcher(self) -> None:
        """Kill -9 the dispatcher; waiting runs keep their positions."""
        os.kill(self._dispatcher_pid(), signal.SIGKILL)
        wait_for(self.dispatcher.problem)
        self.is_served = self.is_dispatcher_frozen = False

    @precondition(lambda self: self.line and (self.is_served or self.is_dispatcher_frozen))
    @rule()
    def freeze_or_thaw_dispatcher(self) -> None:
        """SIGSTOP or SIGCONT to the dispatcher."""
        self.is_served, self.is_dispatcher_frozen = self.is_dispatcher_frozen, self.is_served
        os.kill(self._dispatcher_pid(), signal.SIGSTOP if self.is_dispatcher_frozen else signal.SIGCONT)
        wait_for(lambda: bool(self.dispatcher.problem()) == self.is_dispatcher_frozen)
        self._let_in()

    @act(lambda model: model.supervisor)
    def freeze_or_thaw_supervisor(self, name: str) -> None:
        """SIGSTOP or SIGCONT to the supervisor of a run that has begun."""
        model = self.models[name]
        model.supervisor_frozen = not model.supervisor_frozen
        os.kill(read_record(self.run_of(name)).supervisor.pid, signal.SIGSTOP if model.supervisor_frozen else signal.SIGCONT)
        if not model.supervisor_frozen and not model.trainer:
            self._end(name, model.thawed_end)

    @act(lambda model: model.trainer)
    def remove_training_pid(self, name: str) -> None:
        """As the guide says, by hand."""
        self.run_of(name).training_pid.unlink(missing_ok=True)
        self.models[name].pid_removed = True

    @act(lambda model: model.exists and not model.is_busy)
    def damage_or_mend_the_state(self, name: str) -> None:
        """Cut ui_state.json in half, or put back what it was."""
        model, run, kept = self.models[name], self.run_of(name), self.folder / f"{name}.kept"
        if model.damaged:
            shutil.copy(kept, run.ui_state)
        else:
            shutil.copy(run.ui_state, kept)
            run.ui_state.write_bytes(run.ui_state.read_bytes()[:40])
        model.damaged = not model.damaged

    @act(lambda model: model.exists and not model.is_busy)
    def move_away_and_back(self, name: str) -> None:
        """Rename an ended run's folder and back: it goes, it comes, and is the same."""
        run = self.run_of(name)
        other = run.folder.with_name(f"{name}-renamed")
        run.folder.rename(other)
        assert self._listed(self.index).get(other.name) == self.models[name].shown
        other.rename(run.folder)

    @act(lambda model: model.exists and not model.is_busy)
    def delete(self, name: str) -> None:
        """Remove an ended run's folder by hand; its name is free again."""
        shutil.rmtree(self.run_of(name).folder)
        self.models[name] = Model()

    @precondition(lambda self: any(model.exists for model in self.models.values()))
    @rule()
    def reboot(self) -> None:
        """Everything dies at once, and what was recorded belongs to an earlier boot."""
        for name, model in self.models.items():
            record = read_record(self.run_of(name)) if model.exists else None
            for process in (record.supervisor, record.trainer) if record else ():
                if process and is_alive(process):
                    os.kill(process.pid, signal.SIGKILL)
            if record:
                wait_for(lambda record=record: not is_alive(record.supervisor) and not is_alive(record.trainer))
                self._record_at_an_earlier_boot(self.run_of(name))
            if model.trainer or model.supervisor:
                model.ended = "stopped"
            model.trainer = model.supervisor = model.trainer_frozen = model.supervisor_frozen = model.pid_removed = False
        self._kill_dispatcher()

    @rule()
    def start_the_app(self) -> None:
        """What app.py does when it starts: a fresh index, and waiting runs are brought back."""
        self.index = SessionIndex(self.world.outputs)
        self._revived_by_a_start()
        engine_for(self.outputs).queue.reconcile()

    @rule(hours=st.sampled_from([-24, 24]))
    def jump_the_clock(self, hours: int) -> None:
        """A reader whose clock is a day off sees the same."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(local.time, "time", lambda now=time.time: now() + hours * 3600)
            assert {session.slug: str(session.status) for session in list_sessions(self.world.outputs)} == self._expected()

    # -- what must hold ----------------------------------------------------------------------------------------------------------

    @invariant()
    def the_list_says_what_is_true(self) -> None:
        """All three lists come to the model's truth."""
        expected = self._expected()
        with contextlib.suppress(AssertionError):
            wait_for(lambda: self._listed(self.index) == expected, PATIENCE_S)
        assert self._listed(self.index) == expected
        assert self._listed(SessionIndex(self.world.outputs)) == expected
        assert {session.slug: str(session.status) for session in list_sessions(self.world.outputs)} == expected

    @invariant()
    def processes_are_as_the_model_has_them(self) -> None:
        """Nothing lives that should not; the ✅ of Monitoring stands for a live supervisor."""
        for name, model in self.models.items():
            record = read_record(self.run_of(name)) if model.exists else None
            if record is not None:
                assert is_alive(record.trainer) == model.trainer
                assert not (model.queued and is_alive(record.supervisor))
                if record.trainer and not model.trainer:
                    assert not group_members(record.trainer.pid) or model.supervisor_frozen

    # -- helpers -----------------------------------------------------------------------------------------------------------------

    def run_of(self, name: str) -> RunPaths:
        """Return a run's paths."""
        return self.outputs.run(name)

    def _expected(self) -> dict[str, str]:
        return {name: model.shown for name, model in self.models.items() if model.exists}

    def _listed(self, index: SessionIndex) -> dict[str, str]:
        return {entry.slug: str(entry.status) for entry in index.entries(everything=True)}

    def _is_free(self) -> bool:
        """Return True if no process holds the device: neither a trainer nor a supervisor that has not released it."""
        return not any(model.trainer or model.supervisor for model in self.models.values())

    def _request(self, name: str) -> None:
        (self.folder / "hold" / name).touch()
        start(StartRequest(state=state(lora_name=name), images=self.images), self.world)

    def _ends_without_trainer(self, name: str, how: str) -> None:
        """Note that the trainer has gone; a frozen supervisor records it once it continues."""
        model = self.models[name]
        if model.supervisor_frozen:
            model.trainer, model.trainer_frozen, model.ended, model.thawed_end = False, False, "stopped", how
        else:
            self._end(name, how)

    def _begins(self, name: str, begin: Callable[[], object]) -> None:
        """Let a run begin, and see it running or in line."""
        free, model, run = self._is_free(), self.models[name], self.run_of(name)
        model.trainer = model.supervisor = free and not self.line
        model.queued = not model.trainer
        begin()
        model.pid_removed = model.trainer_frozen = model.supervisor_frozen = False
        if model.trainer:
            wait_for(lambda: catches_stop(read_record(run).trainer))
            return
        self.line.append(name)
        wait_for(lambda: json.loads(run.ui_state.read_text())["status"] == "queued" and not is_alive(read_record(run).supervisor))
        self._is_served_again()

    def _end(self, name: str, how: str) -> None:
        """Note a run's end once its processes have gone, and let the next one in."""
        model, run = self.models[name], self.run_of(name)
        wait_for(lambda: not is_alive(read_record(run).supervisor) and not is_alive(read_record(run).trainer), PATIENCE_S)
        model.trainer = model.supervisor = model.queued = model.trainer_frozen = model.supervisor_frozen = model.pid_removed = False
        model.ended = how
        self.line = [other for other in self.line if other != name]
        self._let_in()

    def _let_in(self) -> None:
        """Move the model's next waiting run in when the device has become free."""
        if self._is_free() and self.line and self.is_served:
            name = self.line.pop(0)
            model = self.models[name]
            wait_for(lambda: catches_stop(read_record(self.run_of(name)).trainer), PATIENCE_S)
            model.trainer, model.supervisor, model.queued = True, True, False
        self.is_served = self.is_served and bool(self.line)  # it ends with the queue

    def _revived_by_a_start(self) -> None:
        """Note that a dead or frozen dispatcher comes back with any start."""
        engine_for(self.outputs).queue.reconcile()
        if self.line:
            self._is_served_again()

    def _is_served_again(self) -> None:
        wait_for(lambda: not self.dispatcher.problem())
        self.is_served, self.is_dispatcher_frozen = True, False
        self._let_in()

    def _dispatcher_pid(self) -> int:
        return int(json.loads(self.dispatcher.lock.with_suffix(".json").read_text())["process"]["pid"])

    def _kill_dispatcher(self) -> None:
        if self.dispatcher.problem() != DISPATCHER_ENDED:
            os.kill(self._dispatcher_pid(), signal.SIGKILL)
            wait_for(lambda: self.dispatcher.problem() == DISPATCHER_ENDED)
        self.is_served = self.is_dispatcher_frozen = False

    def _trainer_gone(self, name: str) -> None:
        record = read_record(self.run_of(name))
        wait_for(lambda: not is_alive(record.trainer), PATIENCE_S)

    def _record_at_an_earlier_boot(self, run: RunPaths) -> None:
        record = json.loads(run.process.read_text())
        for who in ("supervisor", "trainer"):
            if record[who]:
                record[who]["boot_id"] = "an-earlier-boot"
        run.process.write_text(json.dumps(record))

    def teardown(self) -> None:
        """End all that lives, and remove the folder."""
        self._kill_dispatcher()
        for name, model in self.models.items():
            record = read_record(self.run_of(name)) if model.exists else None
            for process in (record.supervisor, record.trainer) if record else ():
                if process and is_alive(process):
                    os.kill(process.pid, signal.SIGKILL)
        self.environment.undo()
        shutil.rmtree(self.folder, ignore_errors=True)


TestTruth = Truth.TestCase
TestTruth.settings = settings(
    max_examples=int(os.environ.get("FLUXGYM_EXAMPLES", "10")),
    stateful_step_count=20,
    deadline=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),  # real processes do not repeat a failure
    suppress_health_check=list(HealthCheck),
)

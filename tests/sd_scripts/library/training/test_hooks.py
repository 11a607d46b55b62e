"""When sample images are drawn and files are saved, in which order, and what a resumed training catches up on."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from library.training.checkpoint import TrainState
from library.training.hooks import Hook, Hooks, SampleHook, SaveHook
from library.training.position import Position
from tests.support.trainer_config import trainer_config


class Recorded:
    """Stands in for sampler, saver, learner and reporter: records what they are asked to do."""

    losses, log_folder, optimizer, scheduler = [0.5], "logs", "optimizer", "scheduler"

    def __init__(self, *, present=(), prompts=("a cat",), epoch_interval=None):
        self.done, self.present, self.prompts, self.states, self.epoch_interval = [], present, prompts, [], epoch_interval

    def enter(self, phase, **fields):
        self.done.append(str(phase))

    def pause(self):
        self.done.append("pause")

    def weights_for_use(self):
        return nullcontext()

    def checkpoint_parts(self):
        return {}

    def has_images(self, label):
        return label in self.present

    def draw(self, label, check):
        self.done.append(label)

    def has_lora(self, suffix):
        return suffix in self.present

    def save_lora(self, suffix, *, epoch, step):
        self.done.append(f"lora{suffix} epoch {epoch} step {step}")
        return f"cat{suffix}.safetensors"

    def save_state(self, suffix, parts, state):
        self.done.append(f"state{suffix}")
        self.states.append(state)

    def drop_old_steps(self, step):
        self.done.append(f"drop steps {step}")

    def drop_old_epochs(self, epoch):
        self.done.append(f"drop epochs {epoch}")

    def check_learned(self, step):
        self.done.append("check learned")

    def check_lora(self, path):
        self.done.append(f"check {path}")


STATE = TrainState(step=0, epoch=0, batch_in_epoch=0, total_steps=12, seed=1, fixed={"seed": 1})


def sample_hook(recorded, **flags):
    config = trainer_config(**({"sample_prompts": "p.txt"} | flags)).sample
    return SampleHook(config=config, sampler=recorded, learner=recorded, reporter=recorded, check=lambda: None)


def save_hook(recorded, **flags):
    return SaveHook(config=trainer_config(**flags).save, saver=recorded, learner=recorded, reporter=recorded, state=STATE)


def inside(step, epoch=0):
    return Position(step=step, epoch=epoch, batch_in_epoch=2, total_steps=12, num_epochs=3)


def at_end_of(epoch, step=4):
    return Position(step=step, epoch=epoch, total_steps=12, num_epochs=3)


def test_samples_are_generated_at_their_intervals():
    recorded = Recorded()
    hook = sample_hook(recorded, sample_every_n_steps=2)
    for step in (1, 2, 3, 4):
        hook.after_step(inside(step))
    hook.after_epoch(at_end_of(1))
    assert recorded.done == ["sampling", "000002", "pause", "sampling", "000004", "pause"]


def test_epoch_interval_of_samples_has_precedence_over_steps():
    recorded = Recorded()
    hook = sample_hook(recorded, sample_every_n_steps=1, sample_every_n_epochs=2)
    hook.after_step(inside(1))
    for epoch in (1, 2):
        hook.after_epoch(at_end_of(epoch))
    assert recorded.done == ["sampling", "e000002", "pause"]


def test_partial_last_epoch_generates_its_samples():
    recorded = Recorded()
    sample_hook(recorded, sample_every_n_epochs=2).after_epoch(inside(5, epoch=1))
    assert "e000002" in recorded.done


@pytest.mark.parametrize(("flags", "drawn"), [({"sample_at_first": True}, ["000000"]), ({"sample_every_n_steps": 1}, [])])
def test_samples_before_first_step_are_generated_only_on_request(flags, drawn):
    recorded = Recorded()
    sample_hook(recorded, **flags).at_start(Position(total_steps=12, num_epochs=3))
    assert recorded.done[1:2] == drawn


def test_no_samples_are_generated_without_prompts():
    recorded = Recorded(prompts=())
    hook = sample_hook(recorded, sample_every_n_steps=1, sample_at_first=True)
    hook.at_start(inside(1))
    hook.after_step(inside(1))
    assert recorded.done == []


def test_resume_generates_only_missing_samples():
    recorded = Recorded(present=("000002", "e000002"))
    by_step, by_epoch = sample_hook(recorded, sample_every_n_steps=2), sample_hook(recorded, sample_every_n_epochs=1)
    by_step.catch_up(inside(2))
    by_epoch.catch_up(at_end_of(2))
    by_epoch.catch_up(Position(total_steps=12, num_epochs=3))
    assert recorded.done == []
    by_step.catch_up(inside(4))
    by_epoch.catch_up(at_end_of(1))
    assert recorded.done == ["sampling", "000004", "pause", "sampling", "e000001", "pause"]


def test_last_step_is_not_saved_by_step_interval():
    recorded = Recorded()
    hook = save_hook(recorded, save_every_n_steps=6, save_state=True)
    for step in (5, 6, 12):
        hook.after_step(inside(step))
    assert recorded.done == ["saving", "lora-step00000006 epoch 0 step 6", "saving", "state-step00000006", "drop steps 6"]
    state = recorded.states[0]
    assert (state.step, state.epoch, state.batch_in_epoch, state.total_steps, state.fixed) == (6, 0, 2, 12, {"seed": 1})
    assert (state.losses, state.log_folder) == ([0.5], "logs")


def test_last_epoch_is_not_saved_by_epoch_interval():
    recorded = Recorded(epoch_interval=1)
    hook = save_hook(recorded)
    for epoch in (1, 3):
        hook.after_epoch(at_end_of(epoch))
    assert recorded.done == ["saving", "lora-000001 epoch 1 step 4", "drop epochs 1"]


def test_lora_that_exists_is_not_saved_again():
    recorded = Recorded(present=("-step00000006", "-000001"), epoch_interval=1)
    save_hook(recorded, save_every_n_steps=6).catch_up(inside(6))
    save_hook(recorded).catch_up(at_end_of(1))
    assert recorded.done == ["drop steps 6", "drop epochs 1"]
    save_hook(recorded).catch_up(at_end_of(2))
    assert "lora-000002 epoch 2 step 4" in recorded.done


def test_stop_saves_checkpoint():
    recorded = Recorded()
    save_hook(recorded).at_stop(inside(5))
    assert recorded.done == ["saving", "state-step00000005"]


@pytest.mark.parametrize(
    ("flags", "states"), [({}, []), ({"save_state": True}, ["saving", "state"]), ({"save_state_on_train_end": True}, ["saving", "state"])]
)
def test_end_of_training_saves_and_verifies_lora(flags, states, capsys):
    recorded = Recorded()
    save_hook(recorded, **flags).at_end(at_end_of(3, step=12))
    assert recorded.done == ["saving", "check learned", *states, "lora epoch 3 step 12", "verifying", "check cat.safetensors", "done"]
    assert capsys.readouterr().out == "saved cat.safetensors\n"


class Named(Hook):
    def __init__(self, name, calls):
        self.after_step = lambda position: calls.append(f"{name} step")
        self.after_epoch = lambda position: calls.append(f"{name} epoch")
        self.catch_up = lambda position: calls.append(f"{name} catch up")


def test_hooks_run_in_defined_order_at_steps_and_epochs():
    calls = []
    sample, save = Named("sample", calls), Named("save", calls)
    hooks = Hooks(step_order=(sample, save), epoch_order=(save, sample))
    for act in (hooks.after_step, hooks.catch_up):
        act(inside(2))
    for act in (hooks.after_epoch, hooks.catch_up):
        act(at_end_of(1))
    assert calls == [
        "sample step", "save step", "sample catch up", "save catch up", "save epoch", "sample epoch", "save catch up", "sample catch up",
    ]  # fmt: skip


def test_hook_that_overrides_nothing_does_nothing():
    hook = Hook()
    for act in (hook.at_start, hook.after_step, hook.after_epoch, hook.catch_up, hook.at_stop, hook.at_end):
        assert act(SimpleNamespace()) is None

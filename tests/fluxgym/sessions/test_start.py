"""Start, stop and resume over a real supervisor and a small trainer: files as in the contract, names never overwritten."""

import contextlib
import json
import os
import shutil
import signal
import threading
import tomllib

import pytest

from fluxgym.contract.codes import Status
from fluxgym.engines.registry import is_executing
from fluxgym.errors import (
    AlreadyRunning,
    ConfigError,
    DatasetError,
    FluxGymError,
    ModelError,
    NameTaken,
    NothingToResume,
    SessionError,
    StorageError,
)
from fluxgym.runs.launch_spec import read_launch_spec
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.process_identity import is_alive, read_record
from fluxgym.runs.state import read_state
from fluxgym.sessions import start as start_module
from fluxgym.sessions.control import stop, wait_until_ended
from fluxgym.sessions.listing import list_sessions
from fluxgym.sessions.resume import resume
from fluxgym.sessions.start import StartRequest, start
from tests.support.curves import read_curve
from tests.support.runs import state_of, wait_for, write_checkpoint
from tests.support.small_installation import start_run, state, stop_and_wait


def test_run_completes_with_verified_lora(world, images):
    (images / "cat 3.txt").unlink()
    run = start_run(world, images)
    assert wait_until_ended(run).status is Status.COMPLETED
    kept = state_of(run)
    guide = [
        "lora_name", "concept_sentence", "base_model", "vram", "num_repeats", "max_train_epochs", "sample_prompts", "sample_every_n_steps",
        "resolution", "enable_checkpointing", "resume_from_checkpoint", "enable_monitoring", "seed", "workers", "learning_rate",
        "save_every_n_epochs", "guidance_scale", "timestep_sampling", "network_dim", "timestamp", "status",
    ]  # fmt: skip
    assert list(kept)[: len(guide)] == guide
    assert (kept["status"], kept["lora_name"], kept["resolution"]) == ("completed", "My Cat", 64)
    names = {f"cat {i}.{end}" for i in range(4) for end in ("png", "txt")}
    assert {path.name for path in run.dataset.iterdir()} == names - {"cat 3.txt"}  # class_tokens is its caption
    toml = tomllib.loads(run.dataset_toml.read_text())
    assert toml["datasets"][0]["subsets"] == [{"image_dir": str(run.dataset), "class_tokens": "sks cat", "num_repeats": 2}]
    assert run.train_sh.read_text().startswith("#!/bin/sh")
    assert "--output_name my-cat" in run.train_sh.read_text()
    assert not list((world.outputs / ".fluxgym" / "new").iterdir())


def test_quotes_in_trigger_word_are_escaped(world, images):
    trigger = 'a "quoted" \\ cat\n[[datasets]]'
    (images / "cat 0.txt").unlink()
    run = start_run(world, images, concept_sentence=trigger)
    assert tomllib.loads(run.dataset_toml.read_text())["datasets"][0]["subsets"][0]["class_tokens"] == trigger
    wait_until_ended(run)


BAD = {
    "name empty": ({"lora_name": " "}, ConfigError, "Give your LoRA a name"),
    "name of symbols": ({"lora_name": "!!!"}, ConfigError, "!!!"),
    "name above": ({"lora_name": "../../x"}, ConfigError, "slash"),
    "name long": ({"lora_name": "x" * 300}, ConfigError, "has 300 characters"),
    "name emoji": ({"lora_name": "🐱"}, ConfigError, "🐱"),
    "rate": ({"learning_rate": "abc"}, ConfigError, "Learning rate .* not “abc”"),
    "epochs": ({"max_train_epochs": 0}, ConfigError, "Max train epochs .* not “0”"),
    "flag": ({"advanced": {"frobnicate": 1}}, ConfigError, "frobnicate"),
    "model unknown": ({"base_model": "sdxl"}, ModelError, "sdxl"),
    "model missing": ({"base_model": "flux-dev", "resolution": 512}, ModelError, "FLUX.1 dev lacks the FLUX transformer"),
    "checkpoint": ({"resume_from_checkpoint": "nowhere-state"}, ConfigError, "nowhere-state"),
    "resolution": ({"resolution": 100}, ConfigError, "96 or 112"),
    "captions": ({"advanced": {"reg_data_dir": "", "caption_extension": "../x"}}, ConfigError, r"\.\./x"),
    "reg folder": ({"advanced": {"reg_data_dir": "nowhere"}}, ModelError, "nowhere"),
}


@pytest.mark.parametrize(("changes", "error", "named"), BAD.values(), ids=BAD)
def test_invalid_input_is_reported_and_creates_no_files(changes, error, named, world, images):
    with pytest.raises(error, match=named) as caught:
        start_run(world, images, **changes)
    assert "\n" not in str(caught.value)
    assert not list(OutputsPaths(world.outputs).runs())


def test_start_without_images_is_refused(world, tmp_path):
    (tmp_path / "none").mkdir()
    with pytest.raises(DatasetError, match="at least one image"):
        start_run(world, tmp_path / "none")
    assert not list(OutputsPaths(world.outputs).runs())


def test_text_file_named_as_image_is_refused(world, images):
    (images / "text.png").write_text("hello")
    with pytest.raises(DatasetError, match=r"text\.png"):
        start_run(world, images)
    assert not list(OutputsPaths(world.outputs).runs())


@pytest.mark.parametrize("gpus", ["abc", "0;1", "-1", "0,,1", "0 1"])
def test_invalid_gpu_choice_is_refused(gpus, world, images):
    with pytest.raises(ConfigError, match="GPUs"):
        start(StartRequest(state=state(), images=images, gpus=gpus), world)


def test_truncated_model_is_refused(world, images):
    path = world.models / "pocket" / "flux.safetensors"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ModelError, match=r"flux\.safetensors: the file is cut short"):
        start_run(world, images)


def test_start_on_full_disk_is_refused(world, images, monkeypatch):
    usage = shutil.disk_usage(world.outputs.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=0))
    with pytest.raises(StorageError, match="MB are free"):
        start_run(world, images)


def test_existing_name_needs_choice_and_each_choice_keeps_old_run(world, images):
    first = start_run(world, images)
    wait_until_ended(first)
    before = first.lora.read_bytes()
    with pytest.raises(NameTaken, match="my-cat exists already") as caught:
        start_run(world, images)
    assert caught.value.field == "lora_name"
    second = start_run(world, images, if_exists="new")
    assert second.slug == "my-cat-2"
    assert wait_until_ended(second).status is Status.COMPLETED
    assert first.lora.read_bytes() == before
    third = start_run(world, images, if_exists="replace")
    assert third.slug == "my-cat"
    wait_until_ended(third)
    (archived,) = (world.outputs / ".fluxgym" / "archive").iterdir()
    assert (archived / "my-cat.safetensors").read_bytes() == before
    assert {path.parent.parent for path in world.outputs.rglob("ui_state.json")} == {world.outputs}  # what the guide's find counts


def test_replacement_that_cannot_start_leaves_old_run_where_it_is(world, images, tmp_path):
    run = start_run(world, images)
    wait_until_ended(run)
    (tmp_path / "none").mkdir()
    with pytest.raises(DatasetError):
        start_run(world, tmp_path / "none", if_exists="replace")
    assert run.lora.is_file()
    assert not (world.outputs / ".fluxgym" / "archive").exists()


def test_eight_concurrent_starts_start_one_trainer(world, images, monkeypatch):
    monkeypatch.setenv("TEST_STEPS", "8")
    ends = []

    def one():
        try:
            ends.append(start_run(world, images))
        except FluxGymError as error:
            ends.append(error)

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    runs = [end for end in ends if not isinstance(end, Exception)]
    assert len(runs) == 1
    assert all(isinstance(end, NameTaken) for end in ends if isinstance(end, Exception))
    wait_until_ended(runs[0])
    assert runs[0].training_log.read_text().count("== attempt") == 1


@pytest.fixture(name="stopped")
def fixture_stopped(world, images, monkeypatch):
    monkeypatch.setenv("TEST_STEPS", "8")
    script = world.sd_scripts / "flux_train_network.py"
    script.write_text(
        script.read_text().replace("    step += 1\n", "    step += 1\n    if step == 4: open(f'{folder}/hold', 'w'); progress(3, total)\n")
    )
    run = start_run(world, images)
    wait_for(lambda: (run.folder / "hold").exists())
    with pytest.raises(NameTaken):
        start_run(world, images)
    with pytest.raises(AlreadyRunning):
        resume(run, settings=world)
    with pytest.raises(AlreadyRunning):
        start_run(world, images, if_exists="replace")
    wait_for(lambda: state_of(run)["status"] == "running")
    stop(run)
    assert wait_until_ended(run).reason_code == "user"
    (run.folder / "hold").unlink()
    return run


def test_stopped_and_resumed_run_completes(stopped, world):
    run_id = state_of(stopped)["run_id"]
    with pytest.raises(SessionError, match="not running"):
        stop(stopped)
    resume(stopped, settings=world)
    assert wait_until_ended(stopped).status is Status.COMPLETED
    kept = state_of(stopped)
    assert (kept["run_id"], kept["status"]) == (run_id, "completed")
    assert "reason" not in kept
    assert read_record(stopped).attempt == 2
    assert [step for step, _ in read_curve(stopped.progress)] == list(range(1, 9))
    assert "--resume" in read_launch_spec(stopped).argv
    assert stopped.training_log.read_text().count("== attempt") == 2
    with pytest.raises(NothingToResume):
        resume(stopped, settings=world)


def test_start_with_resume_continues(stopped, world, images):
    assert start_run(world, images, if_exists="resume") == stopped
    assert wait_until_ended(stopped).status is Status.COMPLETED


def test_hand_edited_epochs_are_used(stopped, world):
    edited = state_of(stopped) | {"max_train_epochs": 2}
    stopped.ui_state.write_text(json.dumps(edited))
    resume(stopped, settings=world)
    argv = read_launch_spec(stopped).argv
    assert argv[argv.index("--max_train_epochs") + 1] == "2"
    assert read_launch_spec(stopped).expected_steps == 16
    wait_until_ended(stopped)


def test_list_shows_started_run(stopped, world):
    (session,) = list_sessions(world.outputs)
    row = session.to_json()
    assert (row["slug"], row["lora_name"], row["status"], row["reason_code"], row["max_train_epochs"]) == (
        "my-cat",
        "My Cat",
        "stopped",
        "user",
        1,
    )
    assert row["progress"]["step"] in (3, 4)
    assert row["checkpointing"] is True
    assert row["monitoring"] is False
    json.dumps(row)


def test_resume_while_run_is_being_replaced_waits_and_is_refused(stopped, world, images, monkeypatch):
    began, ends = threading.Event(), []

    def resume_meanwhile():
        began.wait()
        try:
            ends.append(resume(stopped, settings=world))
        except FluxGymError as error:
            ends.append(error)

    thread = threading.Thread(target=resume_meanwhile)
    thread.start()
    copy = start_module.copy_for_training

    def slow_copy(*args, **more):
        began.set()
        thread.join(0.5)  # a resume that waits for the lock is not done by then
        return copy(*args, **more)

    monkeypatch.setattr(start_module, "copy_for_training", slow_copy)
    replaced = start_run(world, images, if_exists="replace")
    thread.join()
    assert isinstance(ends[0], FluxGymError)
    (archived,) = OutputsPaths(world.outputs).archive.iterdir()
    assert not is_executing(RunPaths(archived))
    stop_and_wait(replaced)


def test_version_that_another_start_took_concurrently_is_not_touched(world, images, monkeypatch):
    (world.outputs / "my-cat").mkdir(parents=True)
    (world.outputs / "my-cat" / "something").touch()
    copy = start_module.copy_for_training

    def copy_while_another_starts(*args, **more):
        (world.outputs / "my-cat-2").mkdir()
        (world.outputs / "my-cat-2" / "theirs").touch()
        return copy(*args, **more)

    monkeypatch.setattr(start_module, "copy_for_training", copy_while_another_starts)
    with pytest.raises(NameTaken, match="my-cat-2 was started in the meantime"):
        start_run(world, images, if_exists="new")
    assert [path.name for path in (world.outputs / "my-cat-2").iterdir()] == ["theirs"]
    assert not OutputsPaths(world.outputs).archive.exists()
    assert not list((world.outputs / ".fluxgym" / "new").iterdir())


def test_file_at_path_of_run_is_existing_name(world, images):
    world.outputs.mkdir()
    (world.outputs / "my-cat").touch()
    with pytest.raises(NameTaken):
        start_run(world, images)


def test_removed_folder_starts_no_second_trainer(world, images):
    (world.sd_scripts / "flux_train_network.py").write_text("import time; time.sleep(60)")
    run = start_run(world, images)
    record = wait_for(lambda: (found := read_record(run)) and found.trainer and found)
    wait_for(lambda: read_state(run).get("status") == "running" and run.training_pid.exists())  # the supervisor's last writes of a start
    run.folder.rename(world.outputs / ".gone")
    try:
        with pytest.raises(AlreadyRunning, match="PID"):
            start_run(world, images)
        assert not run.dataset.exists()
    finally:
        for process in (record.supervisor, record.trainer):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        wait_for(lambda: not is_alive(record.supervisor) and not is_alive(record.trainer))
    shutil.rmtree(run.folder, ignore_errors=True)
    stop_and_wait(start_run(world, images))


def test_run_on_another_machine_is_not_changed(stopped, world, images):
    record = json.loads(stopped.process.read_text())
    for who in ("trainer", "supervisor"):
        record[who] |= {"boot_id": "another", "host": "another"}
    stopped.process.write_text(json.dumps(record))
    stopped.ui_state.write_text(json.dumps(state_of(stopped) | {"status": "running"}))
    stopped.exit.unlink()
    stopped.progress.touch()
    with pytest.raises(AlreadyRunning, match="another machine"):
        resume(stopped, settings=world)
    with pytest.raises(AlreadyRunning, match="another machine"):
        start_run(world, images, if_exists="replace")


def test_run_whose_images_were_removed_is_reported(stopped, world):
    shutil.rmtree(stopped.dataset)
    with pytest.raises(DatasetError, match="images of My Cat are gone"):
        resume(stopped, settings=world)


def test_last_checkpoint_of_version_is_not_mistaken_for_epoch_of_another_run(world, images):
    first, second = (OutputsPaths(world.outputs).run(slug) for slug in ("cat", "cat-2"))
    for run, name in ((first, "cat-000002-state"), (second, "cat-2-state")):
        run.folder.mkdir(parents=True)
        write_checkpoint(run, name, 2)
    run = start_run(world, images, resume_from_checkpoint="cat-2-state")
    argv = read_launch_spec(run).argv
    assert argv[argv.index("--resume") + 1] == str(second.folder / "cat-2-state")
    stop_and_wait(run)
    (second.folder / "cat-2-state" / "manifest.json").unlink()
    with pytest.raises(ConfigError, match="not a complete checkpoint"):  # and not silently the other's
        start_run(world, images, "new", resume_from_checkpoint="cat-2-state")
    shutil.rmtree(second.folder)
    run = start_run(world, images, "new", resume_from_checkpoint="cat-2-state")
    assert str(first.folder / "cat-000002-state") in read_launch_spec(run).argv
    stop_and_wait(run)

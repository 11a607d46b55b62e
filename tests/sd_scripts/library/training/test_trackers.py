"""Curves have kohya's names, continue after a resume, and contain nothing private. A module that records its calls replaces wandb."""

import sys

import pytest

from library.errors import TrainerError
from library.training.trackers import Trackers, public_settings
from tests.support.trainer_config import trainer_config


def trackers_of(*argv, log_folder="", step=0):
    config = trainer_config(*argv)
    return Trackers(config.log, config.flag_values, log_folder=log_folder, step=step)


def curves(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    return {name: [(point.step, round(point.value, 3)) for point in events.Scalars(name)] for name in events.Tags()["scalars"]}


def log_steps(trackers, steps):
    for step in steps:
        trackers.log_step(loss=step / 10, average=step / 20, rates={"unet": 0.1, "d*lr/unet": 0.2, "textencoder": 0.3}, step=step, epoch=1)
    trackers.log({"loss/epoch_average": 0.5}, x=1, step=steps[-1], epoch=1)
    trackers.close()


def test_tracker_names_match_kohya_and_curve_continues(tmp_path):
    argv = ("--logging_dir", str(tmp_path), "--log_prefix", "cat-", "--log_config", "--learning_rate", "0.5")
    first = trackers_of(*argv)
    assert first.log_folder.startswith("cat-20")
    log_steps(first, [1, 2, 3, 4])  # killed after step 4; its checkpoint is at step 2
    resumed = trackers_of(*argv, log_folder=first.log_folder, step=2)
    assert resumed.log_folder == first.log_folder
    log_steps(resumed, [3, 4, 5])
    found = curves(tmp_path / first.log_folder / "network_train")
    assert set(found) == {"loss/current", "loss/average", "loss/epoch_average", "lr/unet", "lr/d*lr/unet", "lr/textencoder"}
    assert found["loss/current"] == [(step, step / 10) for step in range(1, 6)]


def test_no_tracker_files_without_log_with(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log_steps(trackers_of(), [1])
    assert not list(tmp_path.iterdir())


class FakeWandb:
    def __init__(self):
        self.begun, self.metrics, self.lines, self.finished = {}, [], [], False

    def init(self, **given):
        self.begun = given
        return self

    def define_metric(self, name, hidden):
        self.metrics.append((name, hidden))

    def log(self, values):
        self.lines.append(values)

    def finish(self):
        self.finished = True


def test_wandb_gets_step_and_epoch_and_continues_its_run(tmp_path, monkeypatch):
    wandb = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    config = tmp_path / "trackers.toml"
    config.write_text('[wandb]\nentity = "us"\n', encoding="utf-8-sig")  # with a byte order mark
    trackers = trackers_of(
        "--log_with", "all", "--logging_dir", str(tmp_path), "--wandb_run_name", "cat", "--log_tracker_config", str(config), "--log_config"
    )
    log_steps(trackers, [1])
    assert wandb.begun["id"] == trackers.log_folder
    assert (wandb.begun["project"], wandb.begun["name"], wandb.begun["resume"], wandb.begun["entity"]) == (
        "network_train",
        "cat",
        "allow",
        "us",
    )
    assert (wandb.lines[0]["loss/current"], wandb.lines[0]["global_step"], wandb.lines[0]["epoch"]) == (0.1, 1, 1)
    assert ("global_step", True) in wandb.metrics
    assert wandb.finished


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (["--log_with", "tensorboard"], "--logging_dir"),
        (["--log_with", "wandb"], "pip install wandb"),
        (["--logging_dir", "LOGS", "--log_tracker_config", "none.toml"], "none.toml"),
        (["--logging_dir", "LOGS", "--log_tracker_config", "BAD"], "\\[comet\\] is not a tracker"),
    ],
)
def test_invalid_value_is_reported(argv, named, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    (tmp_path / "bad.toml").write_text("[comet]\nx = 1\n")
    paths = {"LOGS": str(tmp_path / "logs"), "BAD": str(tmp_path / "bad.toml")}
    with pytest.raises(TrainerError, match=named):
        trackers_of(*(paths.get(word, word) for word in argv))


def test_public_settings_leave_out_paths_and_keys():
    shown = public_settings(
        {
            "learning_rate": 1.0,
            "output_dir": "/home/me",
            "wandb_api_key": "k",
            "huggingface_token": "t",
            "network_args": ["a=1"],
            "ae": "x",
        }
    )
    assert shown == {"learning_rate": 1.0, "network_args": "['a=1']"}


@pytest.mark.parametrize(
    ("key", "missing"), [(None, "WANDB_API_KEY is not set in the process that started this training"), ("canary-5f1c", "")]
)
def test_wandb_that_refuses_is_one_sentence_without_the_key(tmp_path, monkeypatch, key, missing):
    class Refusing(FakeWandb):
        def init(self, **options):
            raise RuntimeError(f"api_key not configured (no-tty): {key}.\nmore")

    monkeypatch.setitem(sys.modules, "wandb", Refusing())
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    if key:
        monkeypatch.setenv("WANDB_API_KEY", key)
    config = trainer_config("--log_with", "wandb", "--logging_dir", str(tmp_path)).log
    with pytest.raises(TrainerError) as caught:
        Trackers(config, {}, log_folder="", step=0)
    words = str(caught.value)
    assert words.startswith("--log_with wandb cannot be used: api_key not configured (no-tty)")
    assert ("WANDB_API_KEY" in words) is bool(missing)
    assert missing in words
    assert "canary" not in words
    assert "\n" not in words

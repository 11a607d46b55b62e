"""The output and the exit codes of the command, without a training."""

import errno
import json
import os
import resource
import subprocess
import sys
from unittest.mock import Mock

import pytest

import flux_train_network as command
from fluxgym.contract.codes import ERROR_PREFIX, ReasonCode
from library.errors import TrainerError
from library.training import setup
from tests.support.photos import write_cats
from tests.support.source_tree import ROOT
from tests.support.stops import flags, write_dataset
from tests.support.trainer_config import REQUIRED, words


@pytest.fixture(autouse=True)
def fixture_leave_the_process_alone(monkeypatch):
    monkeypatch.setattr(command.StopFlag, "install", lambda self: None)


def test_config_is_written_and_nothing_trained(tmp_path, capsys):
    argv = ["--config_file", str(tmp_path / "run"), "--output_config", "--sdpa"]
    assert command.main(argv) == 0
    assert (tmp_path / "run.toml").read_text() == "sdpa = true\n"
    assert f"wrote {tmp_path / 'run.toml'}" in capsys.readouterr().out
    assert command.main(argv) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{ERROR_PREFIX}--config_file")
    assert "already exists" in line


WITHOUT_PYTORCH = """
import sys
sys.path.insert(0, "sd-scripts")
sys.modules["torch"] = sys.modules["transformers"] = None  # an import of them fails
import flux_train_network
sys.exit(flux_train_network.main(sys.argv[1:]))
"""


@pytest.fixture(name="refuse")
def fixture_refuse(tmp_path):
    """Run the command where PyTorch cannot be imported; returns its error message and the last line of progress.jsonl."""
    dataset = write_dataset(tmp_path / "d.toml", write_cats(tmp_path / "cats", count=1, size=64))
    needed = {**REQUIRED, "dataset_config": str(dataset), "output_dir": str(tmp_path / "out")}

    def refuse(*extra):
        argv = [sys.executable, "-c", WITHOUT_PYTORCH, *words(needed), *extra]
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 2, done.stderr
        progress = tmp_path / "out" / "progress.jsonl"
        return done.stderr, json.loads(progress.read_text().splitlines()[-1]) if progress.exists() else None

    return refuse


@pytest.mark.parametrize(
    ("extra", "sentence", "is_recorded"),
    [
        (["--nosuch"], "--nosuch is not a flag of this trainer", False),
        (["--learning_rate", "fast"], "--learning_rate", False),
        (["--loss_type", "huber"], "--huber_schedule", True),
        (["--network_args", "nosuch=1"], "--network_args nosuch=1 is not supported", True),
        (["--network_module", "lycoris.kohya", "--network_args", "algo=magic"], "algo=magic is not supported", True),
        (["--sample_prompts", "nowhere.txt", "--sample_at_first"], "--sample_prompts nowhere.txt is missing", True),
        (["--dataset_config", "nowhere.toml"], "--dataset_config nowhere.toml is missing", True),
        (["--log_with", "tensorboard"], "needs --logging_dir", True),
    ],
)
def test_user_error_in_flags_and_small_files_is_refused_without_pytorch(extra, sentence, is_recorded, refuse):
    message, line = refuse(*extra)
    assert message.startswith(ERROR_PREFIX)
    assert sentence in message
    assert (line and line["reason"]) == (message.strip().removeprefix(ERROR_PREFIX) if is_recorded else None)


def test_full_disk_under_progress_has_exit_code_separate(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(setup, "build_trainer", lambda config, progress, stop: progress.write())
    argv = flags(tmp_path, write_dataset(tmp_path / "dataset.toml", write_cats(tmp_path / "images", count=1, size=64)), tmp_path / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "progress.jsonl").write_bytes(b" " * 4096)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        assert command.main(argv) == 28
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith(ERROR_PREFIX)]
    assert "The disk is full" in line
    assert "progress.jsonl" in line


def test_log_on_full_disk_keeps_exit_code(monkeypatch):
    class FullLog:
        def write(self, _):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        flush = close = lambda self: None

    monkeypatch.setattr(command.sys, "stderr", FullLog())
    for code, exit_code in ((ReasonCode.DISK_FULL, 28), (ReasonCode.STORAGE, 5), (ReasonCode.BAD_INPUT, 2)):
        monkeypatch.setattr(command, "read_flags", Mock(side_effect=TrainerError("It failed.", reason_code=code)))
        assert command.main([]) == exit_code

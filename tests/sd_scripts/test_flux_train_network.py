"""The output and the exit codes of the command, without a training."""

import errno
import os
import resource

import pytest
import torch

import flux_train_network as command
from fluxgym.contract.codes import ERROR_PREFIX, ReasonCode
from library.training.reporting import ProgressLog
from tests.support.stops import flags, write_dataset


@pytest.fixture(autouse=True)
def fixture_leave_the_process_alone(monkeypatch):
    monkeypatch.setattr(command.StopFlag, "install", lambda self: None)
    monkeypatch.setattr(command, "set_up_logging", lambda args: None)
    monkeypatch.setattr(torch, "set_flush_denormal", lambda on: None)


def test_a_config_is_written_and_nothing_trained(tmp_path, capsys):
    argv = ["--config_file", str(tmp_path / "run"), "--output_config", "--sdpa"]
    assert command.main(argv) == 0
    assert (tmp_path / "run.toml").read_text() == "sdpa = true\n"
    assert f"wrote {tmp_path / 'run.toml'}" in capsys.readouterr().out
    assert command.main(argv) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{ERROR_PREFIX}--config_file")
    assert "already exists" in line


def test_a_full_disk_under_the_progress_has_an_exit_code_of_its_own(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(command, "build_trainer", lambda config, progress, stop: progress.write())
    argv = flags(tmp_path, write_dataset(tmp_path / "dataset.toml", tmp_path / "images"), tmp_path / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "progress.jsonl").write_bytes(b" " * 4096)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        assert command.main(argv) == 28
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith(ERROR_PREFIX)]
    assert "the disk is full" in line
    assert "progress.jsonl" in line


def test_a_log_on_the_full_disk_keeps_the_exit_code(monkeypatch):
    class FullLog:
        def write(self, _):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        flush = close = lambda self: None

    monkeypatch.setattr(command.sys, "stderr", FullLog())
    assert command._refuse(ProgressLog(None), "the disk is full.", ReasonCode.DISK_FULL) == 28
    assert command._refuse(ProgressLog(None), "x cannot be written.", ReasonCode.STORAGE) == 5
    assert command._refuse(ProgressLog(None), "--x is odd.", ReasonCode.BAD_INPUT) == 2

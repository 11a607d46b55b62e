"""The output and the exit codes of the command, without a training."""

import pytest
import torch

import flux_train_network as command
from fluxgym.contract.codes import ERROR_PREFIX


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

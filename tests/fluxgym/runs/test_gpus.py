"""GPUs are found by what their driver shows."""

import pytest

from fluxgym.runs import gpus


@pytest.fixture(name="tool")
def fixture_tool(tmp_path, monkeypatch):
    """Return a function that makes nvidia-smi print a text."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(gpus.VISIBLE, raising=False)

    def write(text):
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\necho '{text}'\n")
        (tmp_path / "nvidia-smi").chmod(0o755)

    return write


def test_smallest_visible_gpu_counts(tool, monkeypatch):
    tool("24564\n16376\n8192")
    assert gpus.smallest_memory_gib() == 8.0
    monkeypatch.setenv(gpus.VISIBLE, "0,1")
    assert gpus.smallest_memory_gib() == 16376 / 1024


@pytest.mark.parametrize("text", ["", "[N/A]", "No devices were found"])
def test_unknown_gpu_memory_returns_none(tool, text):
    tool(text)
    assert gpus.smallest_memory_gib() is None


def test_hidden_gpu_does_not_count(monkeypatch, tmp_path):
    monkeypatch.setattr(gpus, "GPU_SIGNS", (tmp_path,))
    monkeypatch.delenv(gpus.VISIBLE, raising=False)
    assert gpus.has_gpu()
    monkeypatch.setenv(gpus.VISIBLE, "")
    assert not gpus.has_gpu()
    monkeypatch.setattr(gpus, "GPU_SIGNS", (tmp_path / "none",))
    monkeypatch.delenv(gpus.VISIBLE)
    assert not gpus.has_gpu()

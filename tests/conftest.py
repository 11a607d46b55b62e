"""Fixtures of every test: its own HOME and outputs, and no network except loopback."""

import ipaddress
import os
import socket
from pathlib import Path

import pytest
from hypothesis import settings

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # one worker per core
settings.register_profile("fluxgym", deadline=None)  # a busy machine must not fail a test
settings.load_profile("fluxgym")


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point HOME, the outputs folder and every cache that libraries keep at a temporary folder; use the Hub offline."""
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "HF_HOME", "FLUXGYM_OUTPUTS"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.setenv("FLUXGYM_LOCKS", str(tmp_path / "locks"))  # so that tests do not wait for each other's device lock
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("FLUXGYM_TOKEN", "FLUXGYM_ALLOWED_HOSTS", "FLUXGYM_SD_SCRIPTS", "HF_TOKEN", "FLUXGYM_RUN_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse connections of this process to other hosts than loopback."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and isinstance(address, tuple):
            host = str(address[0])
            if host != "localhost" and not ipaddress.ip_address(host).is_loopback:
                raise AssertionError(f"a test tried to reach {host}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)

"""SIGTERM is a stop request: it is handled between two pieces of work, and never interrupts one."""

import json
import os
import signal

import pytest

from library.process import Fenced, StopFlag, StopRequested


def test_signal_is_noticed_at_next_check():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    try:
        stop = StopFlag()
        stop.install()
        stop.check()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.is_set
        with pytest.raises(StopRequested):
            stop.check()
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])


def test_lease_of_another_start_ends_training(tmp_path, monkeypatch):
    monkeypatch.setenv("FLUXGYM_RUN_FOLDER", str(tmp_path))
    monkeypatch.setenv("FLUXGYM_LEASE", "ours")
    stop = StopFlag()
    stop.check()  # a lease that is missing proves nothing
    (tmp_path / ".run").mkdir()
    for holder in ("ours", "theirs"):
        (tmp_path / ".run" / "lease.json").write_text(json.dumps({"host": "pod", "number": 2, "renewed_at": 1.0, "holder": holder}))
        if holder == "ours":
            stop.check()
    for check in (stop.check, stop.check_lease):
        with pytest.raises(Fenced):
            check()
    monkeypatch.delenv("FLUXGYM_LEASE")
    StopFlag().check()  # a trainer that was started by hand has no lease

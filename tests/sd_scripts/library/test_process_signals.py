"""SIGTERM is a stop request: it is handled between two pieces of work, and never interrupts one."""

import os
import signal

import pytest

from library.process import StopFlag, StopRequested


def test_a_signal_is_noticed_at_the_next_check():
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

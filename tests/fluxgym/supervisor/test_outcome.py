"""From evidence to what is said: a row for every way a trainer can end."""

import signal

import pytest

from fluxgym.supervisor.outcome import ExitContext, classify
from fluxgym.supervisor.stall import Stall

GOOD, BAD = {"ok": True}, {"ok": False, "reason": "cat.safetensors cannot be read (it is cut short)"}
DONE = {"phase": "done", "step": 4, "total_steps": 4}
HALF = {"phase": "training", "step": 2, "total_steps": 4}
STALL = Stall("training", 1900.0, 1800.0)

ROWS = {
    "a verified end": ({"exit_code": 0, "last_line": DONE, "verdict": GOOD}, "completed", "", ""),
    "an end that does not hold": ({"exit_code": 0, "last_line": DONE, "verdict": BAD}, "failed", "not_verified", "without an error, but"),
    "an end that nobody checked": ({"exit_code": 0, "last_line": DONE}, "failed", "not_verified", "could not be checked"),
    "done, hung and killed": (
        {"exit_code": -9, "was_killed": True, "last_line": DONE, "verdict": GOOD, "stall": Stall("done", 1900.0, 1800.0)},
        "completed", "", "hung at its exit and was ended",
    ),
    "done, then stopped": ({"exit_code": 143, "stop_requested": True, "last_line": DONE, "verdict": GOOD}, "completed", "", "Stop"),
    "done, then a crash": ({"exit_code": -11, "last_line": DONE, "verdict": GOOD}, "completed", "", "SIGSEGV"),
    "done, then an error": ({"exit_code": 1, "last_line": DONE, "verdict": GOOD}, "completed", "", "exit code 1"),
    "done unwatched": ({"exit_code": None, "last_line": DONE, "verdict": GOOD}, "completed", "", "nobody watched"),
    "done and torn, hung": (
        {"exit_code": -9, "last_line": DONE, "verdict": BAD, "stall": STALL}, "failed", "not_verified", "hung at its exit and was ended, and",
    ),
    "done and torn, crashed": ({"exit_code": 1, "last_line": DONE, "verdict": BAD}, "failed", "not_verified", "cut short"),
    "a stall, killed": ({"exit_code": -9, "was_killed": True, "stall": STALL, "restarts": 3}, "failed", "stalled", "after 3 restarts"),
    "a stall that ended kindly": ({"exit_code": 0, "stall": STALL, "verdict": BAD}, "failed", "stalled", "while training for 1900 s"),
    "stopped in the check": (
        {"exit_code": 0, "last_line": DONE, "check_stopped": True}, "stopped", "user", "while its result was being checked; Resume checks it",
    ),
    "stopped and saved": ({"exit_code": 143, "stop_requested": True, "saved_state": True}, "stopped", "user", "its state was saved"),
    "stopped, nothing saved": ({"exit_code": 143, "stop_requested": True}, "stopped", "user", "steps since the last checkpoint are lost"),
    "stopped, never saved": ({"exit_code": 143, "stop_requested": True, "has_checkpoint": False}, "stopped", "user", "no checkpoint"),
    "stopped at once": ({"exit_code": -9, "stop_requested": True, "stop_immediately": True}, "stopped", "user", "at once at step 2 of 4"),
    "stopped in a stall": ({"exit_code": -9, "stop_requested": True, "was_killed": True, "stall": STALL}, "stopped", "user", "was killed"),
    "asked from outside": ({"exit_code": 143, "saved_state": True}, "stopped", "interrupted", "Something outside FluxGym"),
    "killed from outside": ({"exit_code": -9}, "stopped", "interrupted", "SIGKILL"),
    "killed for memory": ({"exit_code": -9, "kernel_killed": True}, "stopped", "interrupted", "want of memory"),
    "ended unwatched": ({"exit_code": None}, "stopped", "interrupted", "nobody watched"),
    "its own reason": (
        {"exit_code": 2, "last_line": HALF | {"reason_code": "nan", "reason": "the loss became nan"}}, "failed", "nan", "The loss became nan",
    ),
    "a known phrase": ({"exit_code": 1, "log_end": ["OSError: No space left on device"]}, "failed", "disk_full", "disk is full"),
    "a sentence of its own": ({"exit_code": 2, "log_end": ["error: --x is odd."]}, "failed", "bad_input", "--x is odd"),
    "a crash": ({"exit_code": -signal.SIGSEGV}, "failed", "unknown", "signal SIGSEGV"),
    "a real-time signal": ({"exit_code": -35}, "failed", "unknown", "signal SIGRTMIN+1"),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_each_end_has_its_status_and_its_sentence(name):
    found, status, code, words = ROWS[name]
    plain = {
        "stop_requested": False, "was_killed": False, "stop_immediately": False, "last_line": HALF, "log_end": [], "kernel_killed": False,
        "verdict": None, "saved_state": False,
    }  # fmt: skip
    end = classify(ExitContext(**(plain | found)))
    assert (end.status, end.reason_code) == (status, code)
    assert words in end.reason
    assert (end.reason == "") == (name == "a verified end")

"""From the end of a trainer to its outcome: a row for every way to end, and all combinations as they were before the restructuring."""

import gzip
import itertools
import json
import signal
from pathlib import Path

import pytest

from fluxgym.supervisor.outcome import ExitContext, Verification, classify
from fluxgym.supervisor.stall import Stall

GOOD, BAD = Verification(ok=True), Verification(ok=False, reason="cat.safetensors cannot be read (it is cut short)")
DONE = {"phase": "done", "step": 4, "total_steps": 4}
HALF = {"phase": "training", "step": 2, "total_steps": 4}
STALL = Stall("training", 1900.0, 1800.0)

ROWS = {
    "a verified end": ({"exit_code": 0, "last_line": DONE, "verification": GOOD}, "completed", "", ""),
    "an end that does not hold": ({"exit_code": 0, "last_line": DONE, "verification": BAD}, "failed", "not_verified", "without an error, but"),
    "an end that was not checked": ({"exit_code": 0, "last_line": DONE}, "failed", "not_verified", "could not be checked"),
    "done, hung and killed": (
        {"exit_code": -9, "was_killed": True, "last_line": DONE, "verification": GOOD, "stall": Stall("done", 1900.0, 1800.0)},
        "completed", "", "hung at its exit and was ended",
    ),
    "done, then stopped": ({"exit_code": 143, "stop_requested": True, "last_line": DONE, "verification": GOOD}, "completed", "", "Stop"),
    "done, then a crash": ({"exit_code": -11, "last_line": DONE, "verification": GOOD}, "completed", "", "SIGSEGV"),
    "done, then an error": ({"exit_code": 1, "last_line": DONE, "verification": GOOD}, "completed", "", "exit code 1"),
    "done unwatched": ({"exit_code": None, "last_line": DONE, "verification": GOOD}, "completed", "", "nothing watched"),
    "done and torn, hung": (
        {"exit_code": -9, "last_line": DONE, "verification": BAD, "stall": STALL}, "failed", "not_verified", "hung at its exit and was ended, and",
    ),
    "done and torn, crashed": ({"exit_code": 1, "last_line": DONE, "verification": BAD}, "failed", "not_verified", "cut short"),
    "a stall, killed": ({"exit_code": -9, "was_killed": True, "stall": STALL, "restarts": 3}, "failed", "stalled", "after 3 restarts"),
    "a stall that ended kindly": ({"exit_code": 0, "stall": STALL, "verification": BAD}, "failed", "stalled", "while training for 1900 s"),
    "stopped in the check": (
        {"exit_code": 0, "last_line": DONE, "check_stopped": True}, "stopped", "user", "while its result was being checked; Resume checks it",
    ),
    "stopped and saved": ({"exit_code": 143, "stop_requested": True, "saved_state": True}, "stopped", "user", "its state was saved"),
    "stopped, nothing saved": ({"exit_code": 143, "stop_requested": True}, "stopped", "user", "steps since the last checkpoint are lost"),
    "stopped in the preparation": (
        {"exit_code": 143, "stop_requested": True, "has_checkpoint": False, "steps_lost": 0, "last_line": {"phase": "caching"}},
        "stopped", "user", "Stopped by you; nothing had been trained yet.",
    ),
    "stopped after a resume": (
        {"exit_code": -9, "stop_requested": True, "stop_immediately": True, "steps_lost": 0}, "stopped", "user", "no trained step is lost",
    ),
    "stopped after a checkpoint": (
        {"exit_code": -9, "stop_requested": True, "stop_immediately": True, "steps_lost": 3}, "stopped", "user",
        "3 steps since the last checkpoint are lost",
    ),
    "stopped, never saved": ({"exit_code": 143, "stop_requested": True, "has_checkpoint": False}, "stopped", "user", "no checkpoint"),
    "stopped at once": ({"exit_code": -9, "stop_requested": True, "stop_immediately": True}, "stopped", "user", "at once at step 2 of 4"),
    "stopped in a stall": ({"exit_code": -9, "stop_requested": True, "was_killed": True, "stall": STALL}, "stopped", "user", "was killed"),
    "asked from outside": ({"exit_code": 143, "saved_state": True}, "stopped", "interrupted", "Something outside FluxGym"),
    "killed from outside": ({"exit_code": -9}, "stopped", "interrupted", "SIGKILL"),
    "killed for memory": ({"exit_code": -9, "kernel_killed": True}, "stopped", "interrupted", "memory ran out"),
    "ended unwatched": ({"exit_code": None}, "stopped", "interrupted", "nothing watched"),
    "its own reason": (
        {"exit_code": 2, "last_line": HALF | {"reason_code": "nan", "reason": "the loss became nan"}}, "failed", "nan", "The loss became nan",
    ),
    "a known phrase": ({"exit_code": 1, "log_end": ("OSError: No space left on device",)}, "failed", "disk_full", "disk is full"),
    "a sentence of its own": ({"exit_code": 2, "log_end": ("error: --x is odd.",)}, "failed", "bad_input", "--x is odd"),
    "a full disk": ({"exit_code": 28, "log_end": ("error: the disk is full: x.",)}, "failed", "disk_full", "The disk is full: x."),
    "a full disk under the log, too": ({"exit_code": 28}, "failed", "disk_full", "The disk is full; free some space, then resume"),
    "a file that cannot be written": ({"exit_code": 5}, "failed", "storage", "could not be written"),
    "a crash": ({"exit_code": -signal.SIGSEGV}, "failed", "unknown", "signal SIGSEGV"),
    "a real-time signal": ({"exit_code": -35}, "failed", "unknown", "signal SIGRTMIN+1"),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_each_outcome_has_status_and_message(name):
    found, status, code, words = ROWS[name]
    plain = {
        "stop_requested": False, "was_killed": False, "stop_immediately": False, "last_line": HALF, "log_end": (), "kernel_killed": False,
        "verification": None, "saved_state": False,
    }  # fmt: skip
    end = classify(ExitContext(**(plain | found)))
    assert (end.status, end.reason_code) == (status, code)
    assert words in end.reason
    assert (end.reason == "") == (name == "a verified end")


@pytest.mark.parametrize(("found", "step"), [({}, "resume"), ({"has_checkpoint": False}, "retry"), ({"has_steps_left": False}, "retry")])
@pytest.mark.parametrize("end", [
    {"log_end": ("CUDA out of memory",)}, {"log_end": ("No space left on device",)}, {"log_end": ("no kernel image is available",)}, {"stall": STALL},
])  # fmt: skip
def test_failure_message_names_available_next_step(end, found, step):
    plain = {
        "exit_code": 1, "stop_requested": False, "was_killed": False, "stop_immediately": False, "last_line": HALF, "log_end": (),
        "kernel_killed": False, "verification": None, "saved_state": False,
    }  # fmt: skip
    outcome = classify(ExitContext(**(plain | end | found)))
    assert outcome.status == "failed"
    assert outcome.reason.endswith(f", then {step}.")


RECORDED = json.loads(gzip.decompress((Path(__file__).parent / "recorded_outcomes.json.gz").read_bytes()))
REWORDED = (
    ("while nobody watched; how is not known.", "while nothing watched it, so the cause is unknown."),
    ("while nobody watched", "while nothing watched it"),
    (
        "The end of its log says where it was stuck; resume it once the cause is gone.",
        "The end of its log shows where it was stuck; remove the cause, then resume.",
    ),
    ("it has left no checkpoint to resume from", "it has no checkpoint to resume from"),
    ("The trainer broke off", "The trainer failed"),
    ("the end of its log may say why", "the end of its log may show the cause"),
    ("update the driver.", "update the driver, then resume."),
)
KILLED = {
    ", and the kernel reports a kill for want of memory: the memory most likely ran out.": (
        "It was killed{at}, most likely because memory ran out: the kernel reports a kill for that reason."
    ),
    "by whom is not known.": "The system or another program killed it{at} ({signal}).",
}


def reworded(sentence, *, has_checkpoint):
    """Return a recorded sentence in today's words."""
    at = " at step 2 of 4" if "at step 2 of 4" in sentence else " at step 4 of 4" if "at step 4 of 4" in sentence else ""
    for ending, now in KILLED.items():
        if sentence.endswith(ending):
            return now.format(at=at, signal=sentence.partition("(")[2].partition(")")[0])
    for before, now in REWORDED:
        sentence = sentence.replace(before, now)
    return sentence if has_checkpoint else sentence.replace(", then resume.", ", then retry.")


def value_of(name, value):
    """Return a recorded value in the type that ExitContext has."""
    if value is None:
        return None
    return {"verdict": Verification.from_json, "stall": lambda parts: Stall(*parts), "log_end": tuple}.get(name, lambda same: same)(value)


def test_all_combinations_end_as_recorded_before_restructuring():
    names = ["verification" if name == "verdict" else name for name, _ in RECORDED["axes"]]
    axes = [[value_of(name, value) for value in values] for name, values in RECORDED["axes"]]
    ends = [
        {known: (status, code, reworded(reason, has_checkpoint=known)) for known in (False, True)}
        for status, code, reason in RECORDED["ends"]
    ]
    assert len(RECORDED["sequence"]) == 221_184
    differing = []
    for index, values in zip(RECORDED["sequence"], itertools.product(*axes), strict=True):
        context = ExitContext(**dict(zip(names, values, strict=True)))
        outcome, recorded = classify(context), ends[index][context.has_checkpoint]
        if (outcome.status, outcome.reason_code, outcome.reason) != recorded:
            differing.append((dict(zip(names, values, strict=True)), outcome.reason, recorded))
    assert differing[:3] == []


@pytest.mark.parametrize(
    ("exit_code", "fields"), [(0, (0, None)), (3, (3, None)), (-9, (None, "SIGKILL")), (-35, (None, "SIGRTMIN+1")), (None, (None, None))]
)
def test_exit_of_process_is_part_of_outcome(exit_code, fields):
    context = ExitContext(
        exit_code=exit_code, stop_requested=False, was_killed=False, stop_immediately=False, last_line=HALF, log_end=(), kernel_killed=False,
        verification=BAD, saved_state=False,
    )  # fmt: skip
    outcome = classify(context)
    assert (outcome.exit_code, outcome.signal) == fields
    assert outcome.last_step == 2
    assert outcome.to_exit()["verified"] == {"ok": False, "reason": BAD.reason}

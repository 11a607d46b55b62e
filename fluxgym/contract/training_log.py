"""The header line with which each attempt begins in training.log."""

import re

_HEADER = re.compile(rb"== attempt \d+ of run ")


def attempt_header(attempt: int, run_id: str, started_at: str) -> str:
    """Return the header line of an attempt; started_at is a date with a time, for people."""
    return f"== attempt {attempt} of run {run_id}, {started_at} ==\n"


def has_attempt_header(line: bytes) -> bool:
    """Return True if a line of training.log holds a header: it may follow the last output of a trainer that was killed."""
    return _HEADER.search(line) is not None

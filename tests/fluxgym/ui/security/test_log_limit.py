"""One line per minute for each category of events that clients cause."""

import logging

from fluxgym.ui.security.log_limit import INTERVAL_S, MAX_KINDS, OncePerMinute


class Clock:
    """A clock that the test sets."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def record(message: str, *args: object, name: str = "uvicorn.error", error: BaseException | None = None) -> logging.LogRecord:
    return logging.LogRecord(name, logging.WARNING, "", 0, message, args, (type(error), error, error.__traceback__) if error else None)


def raised(line: int) -> ValueError:
    try:
        if line == 1:
            raise ValueError(line)
        raise ValueError(line)
    except ValueError as error:
        return error


def test_first_line_of_category_is_logged_and_next_after_minute_with_count():
    clock = Clock()
    limit = OncePerMinute(clock)
    assert limit.filter(record("closed %s", "a"))
    for number in range(1000):
        assert not limit.filter(record("closed %s", number))
    assert limit.filter(record("another kind"))
    clock.now += INTERVAL_S
    later = record("closed %s", "b")
    assert limit.filter(later)
    assert later.getMessage() == "closed b (1000 more like this since the last line)"
    clock.now += INTERVAL_S
    assert limit.filter(alone := record("closed %s", "c"))
    assert alone.getMessage() == "closed c"


def test_exceptions_are_of_one_kind_if_they_come_from_same_line():
    limit = OncePerMinute(Clock())
    assert limit.filter(record("failed", error=raised(1)))
    assert not limit.filter(record("failed", error=raised(1)))
    assert limit.filter(record("failed", error=raised(2)))


def test_other_loggers_are_not_limited():
    limit = OncePerMinute(Clock())
    assert all(limit.filter(record("once", name="fluxgym.sessions")) for _ in range(3))


def test_number_of_log_categories_is_bounded():
    limit = OncePerMinute(Clock())
    for number in range(MAX_KINDS + 1):
        assert limit.filter(record(f"kind {number}"))
    assert limit.filter(record("kind 0"))  # forgotten
    assert not limit.filter(record(f"kind {MAX_KINDS}"))

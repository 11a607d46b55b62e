"""Rate limit of log lines that clients can cause: one line per minute for each category."""

import logging
import time
from collections.abc import Callable

LOGGERS = ("uvicorn", "asyncio", "fluxgym.ui.server", "fluxgym.ui.security")
INTERVAL_S = 60.0
MAX_KINDS = 1000


class OncePerMinute(logging.Filter):
    """Passes the first record of each category, then one per minute with the number of suppressed ones.

    A category is a logger and a message without its values, and for an exception its class and the line that raised it. Records of other loggers pass.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._kinds: dict[tuple[object, ...], tuple[float, int]] = {}  # when the last record passed, and how many were left out since

    def filter(self, record: logging.LogRecord) -> bool:
        """Return True if the record is to be logged."""
        if not record.name.startswith(LOGGERS):
            return True
        kind, now = _kind_of(record), self._clock()
        passed_at, left_out = self._kinds.pop(kind, (None, 0))
        if passed_at is not None and now - passed_at < INTERVAL_S:
            self._kinds[kind] = (passed_at, left_out + 1)
            return False
        self._kinds[kind] = (now, 0)
        while len(self._kinds) > MAX_KINDS:
            self._kinds.pop(next(iter(self._kinds)))
        if left_out:
            record.msg, record.args = f"{record.getMessage().rstrip()} ({left_out} more like this since the last line)", ()
        return True


def _kind_of(record: logging.LogRecord) -> tuple[object, ...]:
    error = record.exc_info[1] if record.exc_info else None
    trace = error.__traceback__ if error else None
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return record.name, str(record.msg), type(error), trace and (trace.tb_frame.f_code.co_filename, trace.tb_lineno)


def limit_log() -> None:
    """Add the limit to the handlers of the root logger, as logging.basicConfig has made them."""
    limit = OncePerMinute()
    for handler in logging.getLogger().handlers:
        handler.addFilter(limit)

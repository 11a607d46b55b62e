"""progress.jsonl for a kohya checkout, from what it prints into training.log.

Runs inside the supervisor. Each poll reads only new output, in small pieces. Errors of reading or writing are skipped and logged: they must
never end a training.
"""

import logging
import re
import time
from collections.abc import Iterator
from pathlib import Path

from fluxgym.contract.checkpoint_manifest import KohyaPosition
from fluxgym.contract.codes import Phase
from fluxgym.contract.files import state_name
from fluxgym.contract.progress import append_lines, format_line
from fluxgym.contract.regular_files import open_regular
from fluxgym.errors import StorageError
from fluxgym.runs.paths import RunPaths
from fluxgym.trainers.kohya.output import KohyaOutput, SavedState
from fluxgym.trainers.kohya.states import write_position

INTERVAL_S = 0.5
PIECE_BYTES = 256 << 10
MAX_BYTES = 8 << 20  # per poll; older output is skipped
MAX_LINE_BYTES = 8 << 10
MAX_LINES = 4  # of progress.jsonl per poll
LINE_ENDS = re.compile(rb"[\r\n]+")
log = logging.getLogger("fluxgym.supervisor")


class KohyaProgress:
    """Follows one attempt's part of training.log. Poll it a few times per second, and close it when the trainer has ended.

    It may start in the middle of an attempt: then it reads the log from the attempt's header and writes only the present state.
    """

    def __init__(self, run: RunPaths, attempt: int) -> None:
        self._run, self._attempt = run, attempt
        self._output = KohyaOutput()
        self._offset: int | None = None
        self._partial_line = b""
        self._written: dict[str, object] = {}
        self._written_at = 0.0

    def poll(self) -> None:
        """Read new output and append every change of phase, and at most two lines per second within a phase."""
        is_first = self._offset is None
        lines: list[dict[str, object]] = []  # the last state of each phase that has ended since the last poll
        for line in self._new_lines():
            before = self._output.fields()
            self._output.feed_line(line)
            if self._output.phase != before["phase"] and not is_first:
                lines.append(before)
        self._output.feed_bar(self._partial_line)
        if lines or self._output.phase != self._written.get("phase") or time.monotonic() - self._written_at >= INTERVAL_S:
            lines.append(self._output.fields())
        self._append(lines[-MAX_LINES:])
        self._write_positions(has_ended=False)

    def close(self) -> None:
        """Read the rest and append it, however recent the last line is."""
        self._written_at = 0.0
        self.poll()
        self._write_positions(has_ended=True)

    # -- reading -----------------------------------------------------------------------------------------------------------------

    def _new_lines(self) -> Iterator[bytes]:
        """Yield the new lines and refreshes of bars; an unfinished line is kept for the next poll."""
        for start, data in _new_pieces(self._run.training_log, self._offset or 0):
            if self._offset is None or start != self._offset:
                self._partial_line = b""
            self._offset = start + len(data)
            *whole, self._partial_line = LINE_ENDS.split(self._partial_line + data)
            self._partial_line = self._partial_line[-MAX_LINE_BYTES:]
            yield from (line[:MAX_LINE_BYTES] for line in whole if line)
        self._offset = self._offset or 0

    # -- writing -----------------------------------------------------------------------------------------------------------------

    def _append(self, lines: list[dict[str, object]]) -> None:
        """Append the lines that differ from the last one, once the attempt's header was read."""
        lines = [line for line in lines if line != self._written]
        if not lines or not self._output.has_started:
            return
        start = {"time": time.time(), "attempt": self._attempt}
        text = "".join(format_line(start | line) for line in lines)
        try:
            append_lines(self._run.progress, text)
        except OSError as error:
            log.warning("progress could not be written: %s", error)
        self._written, self._written_at = lines[-1], time.monotonic()

    def _write_positions(self, *, has_ended: bool) -> None:
        """Write the position into the folder of every state that kohya has finished."""
        if self._output.phase == Phase.SAVING and not has_ended and len(self._output.saved) < 2:
            return
        for state in self._output.saved:
            self._write_position(state)
        self._output.saved.clear()

    def _write_position(self, state: SavedState) -> None:
        position = KohyaPosition(step=state.step, epoch=state.epoch, total_steps=state.total_steps)
        try:
            write_position(self._run.folder / state_name(self._run.slug, state.suffix), position)
        except StorageError as error:
            log.warning("%s", error)


def _new_pieces(path: Path, offset: int) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, bytes) of a log after offset, at most its last MAX_BYTES; a log that became shorter is read from its start."""
    try:
        with open_regular(path) as file:
            size = file.seek(0, 2)
            offset = 0 if size < offset else max(offset, size - MAX_BYTES)
            file.seek(offset)
            while offset < size and (data := file.read(min(PIECE_BYTES, size - offset))):
                yield offset, data
                offset += len(data)
    except OSError as error:
        log.warning("the trainer's output cannot be read: %s", error)

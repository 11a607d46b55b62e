"""progress.jsonl for a trainer that writes none: a real kohya checkout, read from what it prints into training.log.

Runs inside the supervisor. Each poll reads only what is new, in small pieces; what it cannot read or write it leaves out, for a training
must not end because somebody could not follow it.
"""

import json
import logging
import re
import time
from collections.abc import Iterator
from pathlib import Path

from fluxgym.contract.codes import Phase
from fluxgym.errors import StorageError
from fluxgym.runs.launch_spec import LaunchSpec
from fluxgym.runs.paths import RunPaths
from fluxgym.runs.progress import LARGEST
from fluxgym.trainers.kohya.output import KohyaOutput, SavedState
from fluxgym.trainers.kohya.states import write_position

INTERVAL_S = 0.5
PIECE_BYTES = 256 << 10
MOST_BYTES = 8 << 20  # a poll reads no more than the last of what is new
MOST_LINE_BYTES = 8 << 10
MOST_LINES = 4  # of progress.jsonl, in one poll
LINE_ENDS = re.compile(rb"[\r\n]+")
log = logging.getLogger("fluxgym.supervisor")


class ForeignProgress:
    """Follows one attempt's part of training.log; to be polled a few times a second, and closed when the trainer has ended.

    It may begin in the middle of an attempt: the log is read again from its header, and nothing but the present is written.
    """

    def __init__(self, run: RunPaths, order: LaunchSpec) -> None:
        self._run, self._attempt = run, order.attempt
        self._output = KohyaOutput()
        self._offset: int | None = None
        self._torn = b""
        self._told: dict[str, object] = {}
        self._told_at = 0.0

    def poll(self) -> None:
        """Read what is new and write what it says: every change of phase, and within a phase two lines a second."""
        is_first = self._offset is None
        left: list[dict[str, object]] = []  # the last that was known of each phase that has ended meanwhile
        for line in self._new_lines():
            before = self._output.fields()
            self._output.feed_line(line)
            if self._output.phase != before["phase"] and not is_first:
                left.append(before)
        self._output.feed_bar(self._torn)
        if left or self._output.phase != self._told.get("phase") or time.monotonic() - self._told_at >= INTERVAL_S:
            left.append(self._output.fields())
        self._tell(left[-MOST_LINES:])
        self._place_states(is_over=False)

    def close(self) -> None:
        """Read the rest, and write it whenever the last line was."""
        self._told_at = 0.0
        self.poll()
        self._place_states(is_over=True)

    # -- reading -----------------------------------------------------------------------------------------------------------------

    def _new_lines(self) -> Iterator[bytes]:
        """Yield the new lines and refreshes of bars; what has no end yet is kept for the next time."""
        for start, data in _new_pieces(self._run.training_log, self._offset or 0):
            if self._offset is None or start != self._offset:
                self._torn = b""
            self._offset = start + len(data)
            *whole, self._torn = LINE_ENDS.split(self._torn + data)
            self._torn = self._torn[-MOST_LINE_BYTES:]
            yield from (line[:MOST_LINE_BYTES] for line in whole if line)
        self._offset = self._offset or 0

    # -- writing -----------------------------------------------------------------------------------------------------------------

    def _tell(self, lines: list[dict[str, object]]) -> None:
        """Append lines that say something new; an attempt whose beginning was not seen is not spoken of."""
        lines = [line for line in lines if line != self._told]
        if not lines or not self._output.has_begun:
            return
        begin = {"time": time.time(), "attempt": self._attempt}
        text = "".join(json.dumps(begin | _sane(line)) + "\n" for line in lines)
        try:
            with self._run.progress.open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            log.warning("progress could not be written: %s", error)
        self._told, self._told_at = lines[-1], time.monotonic()

    def _place_states(self, *, is_over: bool) -> None:
        """Leave its place in the training in the folder of every state that kohya has finished."""
        if self._output.phase == Phase.SAVING and not is_over and len(self._output.saved) < 2:
            return
        for state in self._output.saved:
            self._place(state)
        self._output.saved.clear()

    def _place(self, state: SavedState) -> None:
        try:
            write_position(
                self._run.folder / f"{self._run.slug}{state.suffix}", step=state.step, epoch=state.epoch, total_steps=state.total_steps
            )
        except StorageError as error:
            log.warning("%s", error)


def _sane(line: dict[str, object]) -> dict[str, object]:
    """Drop numbers that no training has; readers would drop the same."""
    return {name: value for name, value in line.items() if not isinstance(value, (int, float)) or value <= LARGEST}


def _new_pieces(path: Path, offset: int) -> Iterator[tuple[int, bytes]]:
    """Yield (place, bytes) of what a log has behind `offset`, at most the last MOST_BYTES of it; one that was cut begins again."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            offset = 0 if size < offset else max(offset, size - MOST_BYTES)
            file.seek(offset)
            while offset < size and (data := file.read(min(PIECE_BYTES, size - offset))):
                yield offset, data
                offset += len(data)
    except OSError as error:
        log.warning("the trainer's output cannot be read: %s", error)

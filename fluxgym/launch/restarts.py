"""How often a stalled trainer is started again, and from where: a pause that grows, and an end to it when nothing is gained."""

from fluxgym.run.checkpoints import Checkpoint, list_complete, read_checkpoint
from fluxgym.run.paths import RunPaths

PAUSES_S = (5.0, 30.0, 120.0)  # as many restarts without progress as there are pauses


class Restarts:
    """The restarts of one run; they begin to count anew when the training got further than ever before."""

    def __init__(self, run: RunPaths, *, exact: bool = True) -> None:
        self._run, self._exact = run, exact
        self._furthest = -1
        self._without_progress = 0
        self.count = 0

    def allow(self, step: int) -> float | None:
        """Return the pause in seconds before the next restart after a stall at `step`, None when there have been enough."""
        self._without_progress = 0 if step > self._furthest else self._without_progress
        self._furthest = max(self._furthest, step)
        if self._without_progress >= len(PAUSES_S):
            return None
        self._without_progress += 1
        self.count += 1
        return PAUSES_S[self._without_progress - 1]

    def checkpoint(self) -> Checkpoint | None:
        """Return the newest complete checkpoint, its hashes checked, None when there is none."""
        complete = list_complete(self._run, exact=self._exact)
        return next((found for found in complete if read_checkpoint(found.folder, verify=True, exact=self._exact)), None)

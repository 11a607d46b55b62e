"""Messages about what the waiting runs wait for."""

from collections.abc import Sequence
from pathlib import Path

from fluxgym.config.values import short
from fluxgym.engines.devices import DeviceUser, current_user, title
from fluxgym.engines.waiting_runs import WaitingRun
from fluxgym.runs.launch_spec import DeviceRequest
from fluxgym.runs.paths import RunPaths
from fluxgym.runs.state import read_state_or_empty, shown_name

WAITS_FOR_APP = (
    "The FluxGym that serves this queue, of whatever version, user or HOME, did not put it there. Starting that one’s app, or any training with it, "
    "prepares it again from its settings."
)


class WaitingReasons:
    """Messages about what runs wait for. The user of each device is read once.

    Runs of other outputs folders have separate queues; which of them gets a free device first is not known. others_wait is True if there
    are such runs.
    """

    def __init__(self, *, others_wait: bool) -> None:
        self._others_wait = others_wait
        self._users: dict[str, tuple[DeviceUser, str] | None] = {}

    def reason(self, run: RunPaths, request: DeviceRequest, ahead: Sequence[WaitingRun]) -> str:
        """Return what a run waits for: its devices, who uses them, and the runs ahead of it, of which only the next is named."""
        names = (" or " if request.any_free else " and ").join(title(device) for device in request.names)
        users = sorted({name for device in request.names if (name := self._user_name(device, run))})
        in_use = f", which {' and '.join(users)} {'use' if len(users) > 1 else 'uses'}" if users else ""
        return f"Waiting for {names}{in_use}; {self._position([waiting.name for waiting in ahead])}."

    def _position(self, ahead: Sequence[str]) -> str:
        if len(ahead) > 1:
            return f"“{ahead[0]}” and {len(ahead) - 1} more {'run' if len(ahead) == 2 else 'runs'} are ahead of it"
        if ahead:
            return f"“{ahead[0]}” is ahead of it"
        return "it is next, but runs of another outputs folder wait too" if self._others_wait else "it is next"

    def _user_name(self, device: str, run: RunPaths) -> str:
        """Return the name of the run that uses a device, "" if it is not another run."""
        if device not in self._users:
            user = current_user(device)
            self._users[device] = None if user is None or not user.slug else (user, _name_of_user(user, run))
        found = self._users[device]
        if found is None or found[0].is_run(run.folder):
            return ""
        return f"“{found[1]}”" + (" of another outputs folder" if found[0].is_elsewhere(run.folder) else "")


def _name_of_user(user: DeviceUser, run: RunPaths) -> str:
    """Return the name of the run that uses a device."""
    folder = Path(user.outputs) if user.is_elsewhere(run.folder) else run.folder.parent
    other = RunPaths(folder / user.slug)
    return short(shown_name(other.slug, read_state_or_empty(other)))

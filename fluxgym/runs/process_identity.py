"""The processes of a run: identity by PID, start tick, boot and run ID, and process.json."""

import errno
import os
import signal
import socket
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from fluxgym.contract.files import ATTEMPT_VARIABLE, RUN_ID_VARIABLE
from fluxgym.contract.lease import RUN_FOLDER_VARIABLE
from fluxgym.contract.regular_files import read_regular
from fluxgym.runs.atomic_files import read_json, write_json
from fluxgym.runs.paths import RunPaths
from fluxgym.runs.storage_errors import raise_if_exhausted

PROC = Path("/proc")
MACHINE_ID = Path("/etc/machine-id")
NO_PIDFD = (errno.ENOSYS, errno.EPERM)  # an old kernel, or a container whose filter of system calls does not know them


class Liveness(StrEnum):
    """What is known here of a recorded process."""

    ALIVE = "alive"
    DEAD = "dead"
    REBOOTED = "rebooted"  # the machine or container has restarted since
    OTHER_HOST = "other_host"  # recorded on another host, of which only the files can be seen


@dataclass(frozen=True, kw_only=True)
class ProcessIdentity:
    """One process, distinguished from every other process with the same PID."""

    pid: int
    start_ticks: int
    boot_id: str
    init_ticks: int
    host: str
    run_id: str
    machine_id: str = ""

    @classmethod
    def from_json(cls, value: Any) -> Self | None:
        """Read a recorded identity, None if it is damaged."""
        try:
            kinds = {name: kind for name, kind in cls.__annotations__.items() if name != "machine_id" or name in value}
            return cls(**{name: kind(value[name]) for name, kind in kinds.items()})
        except (KeyError, TypeError, ValueError, OverflowError):
            return None

    def to_json(self) -> dict[str, Any]:
        """Return what process.json contains."""
        return asdict(self)


def identify(pid: int, run_id: str) -> ProcessIdentity | None:
    """Return the identity of a live process, None if no live process has this PID; a zombie is not alive."""
    ticks = start_ticks(pid)
    if ticks is None:
        return None
    return ProcessIdentity(
        pid=pid, start_ticks=ticks, boot_id=boot_id(), init_ticks=start_ticks(1) or 0, host=socket.gethostname(), run_id=run_id,
        machine_id=machine_id(),
    )  # fmt: skip


def liveness_of(identity: ProcessIdentity) -> Liveness:
    """Return whether a recorded process is alive. Needs no permission to signal it."""
    if (identity.boot_id, identity.init_ticks) == (boot_id(), start_ticks(1) or 0):
        return Liveness.ALIVE if start_ticks(identity.pid) == identity.start_ticks else Liveness.DEAD
    return Liveness.REBOOTED if identity.host == socket.gethostname() and _is_same_machine(identity) else Liveness.OTHER_HOST


def _is_same_machine(identity: ProcessIdentity) -> bool:
    """Return True if a record can be of this machine; another machine may have the same host name, such as localhost."""
    return not identity.machine_id or not machine_id() or identity.machine_id == machine_id()


def is_alive(identity: ProcessIdentity | None) -> bool:
    """Return True if the recorded process is alive on this machine."""
    return identity is not None and liveness_of(identity) is Liveness.ALIVE


def is_frozen(identity: ProcessIdentity) -> bool:
    """Return True if a recorded process is stopped by a signal (SIGSTOP, SIGTSTP) until it gets SIGCONT."""
    fields = stat_fields(identity.pid)
    return fields is not None and fields[0] in (b"T", b"t") and is_alive(identity)


@dataclass(frozen=True)
class LocalProcess:
    """A process of this boot, distinguished from every other process with the same PID by its start tick."""

    pid: int
    start_ticks: int

    @property
    def is_alive(self) -> bool:
        """True if this process exists and is not a zombie."""
        return start_ticks(self.pid) == self.start_ticks


def local_process(pid: int) -> LocalProcess | None:
    """Return the live process that has a PID now, None if there is none."""
    ticks = start_ticks(pid)
    return None if ticks is None else LocalProcess(pid, ticks)


def signal_recorded(identity: ProcessIdentity, *numbers: int) -> bool:
    """Send signals to a recorded process as `signal_process` does; False if it is not alive on this machine."""
    return is_alive(identity) and signal_process(LocalProcess(identity.pid, identity.start_ticks), *numbers)


def signal_process(process: LocalProcess, *numbers: int) -> bool:
    """Send signals to a process, never to another one that has its PID by now; False if it has ended or may not be signaled.

    The PID is pinned by a pidfd before the identity is checked. A kernel or container without pidfds gets the check right before the signal.
    """
    try:
        handle = os.pidfd_open(process.pid)
    except OSError as error:
        return error.errno in NO_PIDFD and _signal_checked(process, numbers)
    try:
        if not process.is_alive:
            return False
        for number in numbers:
            signal.pidfd_send_signal(handle, number)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def _signal_checked(process: LocalProcess, numbers: Sequence[int]) -> bool:
    try:
        for number in numbers:
            if not process.is_alive:
                return False
            os.kill(process.pid, number)
    except OSError:
        return False
    return True


def start_ticks(pid: int) -> int | None:
    """Return the kernel's start tick of a process, None if it does not exist or is a zombie."""
    fields = stat_fields(pid)
    return None if fields is None else int(fields[19])


def stat_fields(pid: int) -> list[bytes] | None:
    """Return the fields of /proc/PID/stat from the state on (state, parent, group, …), None if there is no such process or it is a zombie.

    Raises:
        NotReadableNow: If that cannot be known.
    """
    path = PROC / str(pid) / "stat"
    try:
        fields = path.read_bytes().rpartition(b")")[2].split()
    except OSError as error:
        raise_if_exhausted(error, path)
        return None
    return None if fields[0] in (b"Z", b"X") else fields


def machine_id() -> str:
    """Return /etc/machine-id, "" if there is none, as in many containers."""
    try:
        return MACHINE_ID.read_text().strip()
    except (OSError, ValueError) as error:
        raise_if_exhausted(error, MACHINE_ID)
        return ""


def boot_id() -> str:
    """Return the kernel's random ID of this boot."""
    path = PROC / "sys/kernel/random/boot_id"
    try:
        return path.read_text().strip()
    except OSError as error:
        raise_if_exhausted(error, path)
        return ""


def init_started_at() -> float | None:
    """Return when PID 1 was started, in seconds since the epoch: with the machine, or in a container with the container. None if unknown."""
    ticks = start_ticks(1)
    if not ticks:
        return None
    return time.time() - (time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))


def lock_holder(path: Path, program: str) -> ProcessIdentity | None:
    """Return the process that holds the lock of a file, if it executes a program, such as a module's name, that is a word of its command line.

    None if there is no such process, or if the kernel does not show it here: it may be in another container.
    """
    try:
        inode = str(path.stat().st_ino)
        lines = (PROC / "locks").read_bytes().decode("ascii", "replace").splitlines()
    except OSError as error:
        raise_if_exhausted(error, path)
        return None
    rows = (line.split() for line in lines)  # "1: FLOCK ADVISORY WRITE 123 fe:00:2359968 0 EOF"
    pids = [int(row[4]) for row in rows if row[1:2] == ["FLOCK"] and row[4].isdecimal() and row[5].rpartition(":")[2] == inode]
    found = (identify(pid, "") for pid in pids if program in _words(pid))
    return next((identity for identity in found if identity is not None), None)


def _words(pid: int) -> list[str]:
    try:
        return (PROC / str(pid) / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    except OSError:
        return []


def group_members(pgid: int) -> list[int]:
    """Return the PIDs of the live processes of a process group."""
    return [process.pid for process in processes_of_group(pgid)]


def processes_of_group(pgid: int) -> list[LocalProcess]:
    """Return the live processes of a process group."""
    try:
        pids = [int(entry.name) for entry in os.scandir(PROC) if entry.name.isdigit()]
    except OSError as error:
        raise_if_exhausted(error, PROC)
        raise
    stats = ((pid, stat_fields(pid)) for pid in pids)
    return [LocalProcess(pid, int(fields[19])) for pid, fields in stats if fields is not None and int(fields[2]) == pgid]


@dataclass(frozen=True, kw_only=True)
class ProcessRecord:
    """The processes of one attempt; trainer is None before it is started."""

    run_id: str
    attempt: int
    started_at: float
    supervisor: ProcessIdentity | None
    trainer: ProcessIdentity | None


def read_record(run: RunPaths) -> ProcessRecord | None:
    """Return the processes of the run's latest attempt, None if process.json is missing, or is of the run that was copied.

    If process.json is damaged, the trainer is still found by training.pid, so that a run that trains can be seen and stopped.
    """
    value = read_json(run.process)
    try:
        if _is_copy(run, str(value.get("folder") or run.folder)):
            return None
        processes = {name: ProcessIdentity.from_json(value.get(name)) for name in ("supervisor", "trainer")}
        record = ProcessRecord(
            run_id=str(value["run_id"]), attempt=int(value["attempt"]), started_at=float(value["started_at"]), **processes
        )
    except (OSError, KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return _record_of_trainer(run) if os.path.lexists(run.process) else None
    is_damaged = any(identity is None and value.get(name) is not None for name, identity in processes.items())
    return (_record_of_trainer(run) if is_damaged else None) or record


def _record_of_trainer(run: RunPaths) -> ProcessRecord | None:
    """Return a record of the live trainer in training.pid, if that was started for this folder as its environment says; else None."""
    pid = read_pid(run.training_pid)
    if pid is None or (environment := _environment(pid)).get(RUN_FOLDER_VARIABLE) != os.path.realpath(run.folder):
        return None
    try:
        run_id, attempt = environment[RUN_ID_VARIABLE], int(environment[ATTEMPT_VARIABLE])
        started_at = run.training_pid.stat().st_mtime
    except (OSError, KeyError, ValueError):
        return None
    return ProcessRecord(run_id=run_id, attempt=attempt, started_at=started_at, supervisor=None, trainer=identify(pid, run_id))


def _environment(pid: int) -> dict[str, str]:
    """Return the environment with which a process was started, {} if it has ended or belongs to another user."""
    try:
        entries = (PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return {}
    return dict(os.fsdecode(entry).split("=", 1) for entry in entries if b"=" in entry)


def _is_copy(run: RunPaths, recorded: str) -> bool:
    """Return True if this folder was copied from the folder of the record, which still exists. A moved folder is not a copy."""
    return recorded != str(run.folder) and os.path.isdir(recorded) and not os.path.samefile(recorded, run.folder)  # noqa: PTH112, PTH121


def write_record(run: RunPaths, record: ProcessRecord) -> None:
    """Write process.json.

    Raises:
        StorageError: If it cannot be written.
    """
    identities = {"supervisor": record.supervisor, "trainer": record.trainer}
    processes = {name: None if identity is None else identity.to_json() for name, identity in identities.items()}
    fields = {"run_id": record.run_id, "attempt": record.attempt, "started_at": record.started_at, "folder": str(run.folder)}
    write_json(run.process, fields | processes)


def read_pid(path: Path) -> int | None:
    """Return the integer in a PID file, None if it is missing or damaged.

    Raises:
        NotReadableNow: If that cannot be known.
    """
    try:
        return int(read_regular(path, 64))
    except (OSError, ValueError) as error:
        raise_if_exhausted(error, path)
        return None

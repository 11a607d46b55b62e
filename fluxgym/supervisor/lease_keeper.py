"""The supervisor's lease on its run's folder: taken at the start, renewed while it works, and lost to the next start on any host."""

import logging
import secrets
import socket
import time
from dataclasses import asdict, replace
from pathlib import Path

from fluxgym.contract.lease import RENEW_S, RunLease, has_lost, read_lease
from fluxgym.errors import StorageError
from fluxgym.runs.atomic_files import write_json

log = logging.getLogger("fluxgym.supervisor")


class LeaseKeeper:
    """One supervisor's lease.

    It is lost only if the file names another holder. A lease that cannot be read or written at the moment is still ours.
    """

    def __init__(self, path: Path, lease: RunLease) -> None:
        self._path, self._lease = path, lease
        self._renewed = time.monotonic()

    @classmethod
    def take(cls, path: Path) -> "LeaseKeeper":
        """Take the lease from its present holder.

        Raises:
            StorageError: If it cannot be written.
        """
        before = read_lease(path)
        number = 1 if before is None else before.number + 1
        lease = RunLease(host=socket.gethostname(), number=number, renewed_at=time.time(), holder=secrets.token_hex(8))
        write_json(path, asdict(lease))
        return cls(path, lease)

    @classmethod
    def adopt(cls, path: Path) -> "LeaseKeeper":
        """Keep the lease under which a live trainer was started on this machine.

        Take the lease if there is none: an earlier version wrote none.
        """
        before = read_lease(path)
        return cls.take(path) if before is None else cls(path, before)

    @property
    def holder(self) -> str:
        """The name that a trainer of this supervisor finds in the lease."""
        return self._lease.holder

    def is_lost(self) -> bool:
        """Return True if another supervisor has taken the folder."""
        return has_lost(self._path, self.holder)

    def keep(self) -> bool:
        """Renew the lease every RENEW_S seconds; return False if it is lost. Call it at least every few seconds."""
        current = read_lease(self._path)
        if current is None:  # nothing is written into a folder that was removed
            return True
        if current.holder != self.holder:
            return False
        if time.monotonic() - self._renewed >= RENEW_S:
            self._renewed = time.monotonic()
            self._lease = replace(self._lease, renewed_at=time.time())
            try:
                write_json(self._path, asdict(self._lease))
            except StorageError as error:
                log.warning("the lease could not be renewed: %s", error)
        return True

"""lease.json: which supervisor owns a run's folder. It prevents two hosts on shared storage from writing to one folder.

Each supervisor that starts a run takes the lease with the next number and renews it. A trainer or supervisor that finds another holder in
the lease has been replaced: it is fenced, and writes nothing more into the folder. docs/trust.md has the rules.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from fluxgym.contract.progress import is_number
from fluxgym.contract.regular_files import read_regular

LEASE = "lease.json"  # in the run folder's private folder
# Environment of the trainer
RUN_FOLDER_VARIABLE = "FLUXGYM_RUN_FOLDER"
HOLDER_VARIABLE = "FLUXGYM_LEASE"  # the holder of the lease under which it was started
MAX_BYTES = 4096
RENEW_S = 10.0  # heartbeat interval: how often its holder renews it


@dataclass(frozen=True, kw_only=True)
class RunLease:
    """One lease.

    holder is a random name, number counts the leases of the folder, renewed_at is in seconds since the epoch.
    """

    host: str
    number: int
    renewed_at: float
    holder: str

    @classmethod
    def from_json(cls, value: Any) -> Self | None:
        """Parse the content of the file, None if it is not a lease."""
        try:
            lease = cls(host=value["host"], number=value["number"], renewed_at=value["renewed_at"], holder=value["holder"])
        except (KeyError, TypeError):
            return None
        texts = isinstance(lease.host, str) and isinstance(lease.holder, str)
        return lease if texts and type(lease.number) is int and is_number(lease.renewed_at) else None


def read_lease(path: Path) -> RunLease | None:
    """Return the lease in a file, None if it is missing, damaged, or cannot be read at the moment."""
    try:
        return RunLease.from_json(json.loads(read_regular(path, MAX_BYTES)))
    except (OSError, ValueError, RecursionError):
        return None


def has_lost(path: Path, holder: str) -> bool:
    """Return True if another holder has the lease. A missing or unreadable file does not count as lost."""
    lease = read_lease(path)
    return lease is not None and lease.holder != holder

"""Identities of processes that are alive, dead, from before a restart, or of another host."""

import os
from dataclasses import replace

from fluxgym.runs.process_identity import identify

OWN = "own"
DEAD = {"start_ticks": 1}
REBOOTED = {"boot_id": "of an earlier boot"}
OTHER_HOST = {"boot_id": "of another boot", "host": "pod"}


def identity(kind):
    own = identify(os.getpid(), "id-cat")
    return None if kind is None else own if kind == OWN else replace(own, **kind)

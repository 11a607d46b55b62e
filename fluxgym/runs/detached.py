"""Start programs that outlive this process."""

import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

PROJECT = Path(__file__).parents[2]


def start_detached(
    argv: Sequence[str], output: IO[bytes] | None = None, *, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a program in its own session, so that it outlives this process; its output goes to a file or nowhere.

    Its environment is that of this process if none is given.
    """
    target = output or subprocess.DEVNULL
    process = subprocess.Popen(
        argv, cwd=PROJECT, env=environment, stdin=subprocess.DEVNULL, stdout=target, stderr=target, start_new_session=True
    )
    threading.Thread(target=process.wait, daemon=True).start()  # so that it does not stay a zombie while this process is alive
    return process

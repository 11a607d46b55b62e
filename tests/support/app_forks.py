"""app.py in processes that are forked from one that has imported it: the import takes several seconds, and every browser test starts an app.

`python app_forks.py` reads one JSON object per line, forks a process that runs `app.main` with its argv and environment, and prints the PID.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class ForkServer:
    """The process that has imported app.py; it is started at the first use, and again if it has ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # for tests that start two apps at once
        self._process: subprocess.Popen[str] | None = None

    def start_app(self, argv: list[str], environment: dict[str, str], output: Path, errors: Path) -> int:
        """Start an app; returns its PID."""
        request = {"argv": argv, "environment": environment, "output": str(output), "errors": str(errors)}
        with self._lock:
            process = self._running()
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            return int(process.stdout.readline())

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:  # a test of a trainer's descendants ends those of this process, too
            self._process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        return self._process


SERVER = ForkServer()


def start_app(argv: list[str], environment: dict[str, str], output: Path, errors: Path) -> int:
    """Start an app whose output is appended to two files; returns its PID. The kernel removes it from the process table when it ends."""
    return SERVER.start_app(argv, environment, output, errors)


def _serve() -> None:
    sys.path.insert(0, str(ROOT))
    import app  # a fork must not import again

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _become(request)
            os._exit(app.main(request["argv"]))
        print(pid, flush=True)


def _become(request: dict[str, Any]) -> None:
    """Take the environment and the files of a request."""
    os.setsid()
    os.environ.clear()
    os.environ.update(request["environment"])
    for descriptor, path in ((1, request["output"]), (2, request["errors"])):
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.dup2(file, descriptor)
        os.close(file)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)


if __name__ == "__main__":
    _serve()

"""app.py as people start it: its greeting, its token, and one plain sentence for what goes wrong."""

import os
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def command(tmp_path: Path, *flags: str) -> list[str]:
    """Return the command that starts the app over empty folders."""
    return [sys.executable, str(ROOT / "app.py"), "--outputs", str(tmp_path / "outputs"), "--models", str(tmp_path / "models"), *flags]


@contextmanager
def started(tmp_path: Path, *flags: str, **environ: str):
    """Yield (process, what it printed first, its port) of an app on a free port."""
    process = subprocess.Popen(
        command(tmp_path, "--port", "0", *flags), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environ}
    )
    try:
        line = process.stdout.readline()
        yield process, line, int(re.search(r":(\d+)/", line)[1])
    finally:
        process.kill()
        process.communicate()


def status(url: str, **headers: str) -> int:
    """Return the status that a request gets."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def refused(tmp_path: Path, *flags: str) -> str:
    """Return the one sentence with which the app refuses to start."""
    done = subprocess.run(command(tmp_path, *flags), capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    return done.stderr


def test_app_on_loopback_prints_its_address_and_needs_no_token(tmp_path):
    with started(tmp_path) as (_, greeting, port):
        assert greeting == f"FluxGym is at http://127.0.0.1:{port}/\n"
        assert status(f"http://127.0.0.1:{port}/") == 200
        assert status(f"http://127.0.0.1:{port}/", Host="evil.example") == 403


def test_app_on_another_interface_prints_a_token_once_and_requires_it(tmp_path):
    with started(tmp_path, "--host", "0.0.0.0") as (process, _, port):
        token = process.stdout.readline().split()[-1]
        assert len(token) >= 32
        assert status(f"http://127.0.0.1:{port}/config") == 401
        assert status(f"http://127.0.0.1:{port}/config", Authorization=f"Bearer {token}") == 200


def test_app_with_an_allowed_host_requires_a_token(tmp_path):
    with started(tmp_path, "--allow-host", "pod.example", FLUXGYM_TOKEN="given") as (_, _, port):
        assert status(f"http://127.0.0.1:{port}/config", Host="pod.example") == 401
        assert status(f"http://127.0.0.1:{port}/config", Host="pod.example", Authorization="Bearer given") == 200


def test_app_with_a_given_token_does_not_print_it(tmp_path):
    with started(tmp_path, "--host", "0.0.0.0", FLUXGYM_TOKEN="given") as (process, greeting, _):
        process.kill()
        assert "given" not in greeting + process.stdout.read()


def test_app_on_a_used_port_fails_with_one_sentence(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert f"Port {port}" in refused(tmp_path, "--port", str(port))


@pytest.mark.parametrize(
    ("flags", "word"),
    [(("--port", "99999"), "99999"), (("--port", "http"), "http"), (("--host", "no.such.host.invalid"), "no.such.host.invalid"), (("--prot", "1"), "--prot")],
)  # fmt: skip
def test_app_with_invalid_flags_fails_with_one_sentence(tmp_path, flags, word):
    assert word in refused(tmp_path, *flags)


def test_help_lists_the_flags(tmp_path):
    done = subprocess.run(command(tmp_path, "--help"), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    for flag in ("--host", "--port", "--outputs", "--models", "--sd-scripts", "--root-path", "--token", "--allow-host"):
        assert flag in done.stdout

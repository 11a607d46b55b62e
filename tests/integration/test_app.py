"""app.py as users start it: its output, its token, and one message for each error."""

import contextlib
import os
import re
import resource
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from fluxgym.app_settings import LIMIT_OF_PROXY_DETECTION
from fluxgym.ui.api.assets import read_assets
from tests.support.served import connect, exchange, get

ROOT = Path(__file__).parents[2]


def command(tmp_path: Path, *flags: str) -> list[str]:
    """Return the command that starts the app over empty folders."""
    return [sys.executable, str(ROOT / "app.py"), "--outputs", str(tmp_path / "outputs"), "--models", str(tmp_path / "models"), *flags]


@contextmanager
def started(tmp_path: Path, *flags: str, max_files: int | None = None, **environ: str):
    """Yield (process, what it printed first, its port) of an app on a free port, which may open max_files files."""
    process = subprocess.Popen(
        command(tmp_path, "--port", "0", *flags), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environ},
        preexec_fn=None if max_files is None else partial(resource.setrlimit, resource.RLIMIT_NOFILE, (max_files, max_files)),
    )  # fmt: skip
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


def test_app_on_another_interface_prints_token_once_and_requires_it(tmp_path):
    with started(tmp_path, "--host", "0.0.0.0") as (process, _, port):
        token = process.stdout.readline().split()[-1]
        assert len(token) >= 32
        assert status(f"http://127.0.0.1:{port}/config") == 401
        assert status(f"http://127.0.0.1:{port}/config", Authorization=f"Bearer {token}") == 200


def test_app_with_allowed_host_requires_token(tmp_path):
    with started(tmp_path, "--allow-host", "pod.example", FLUXGYM_TOKEN="given") as (_, _, port):
        assert status(f"http://127.0.0.1:{port}/config", Host="pod.example") == 401
        assert status(f"http://127.0.0.1:{port}/config", Host="pod.example", Authorization="Bearer given") == 200


def test_app_with_given_token_does_not_print_it(tmp_path):
    with started(tmp_path, "--host", "0.0.0.0", FLUXGYM_TOKEN="given") as (process, greeting, _):
        process.kill()
        assert "given" not in greeting + process.stdout.read()


def test_app_behind_proxy_prints_local_address_and_outer_one_if_it_is_given(tmp_path):
    with started(tmp_path, "--host", "0.0.0.0", "--allow-host", "pod.example", FLUXGYM_TOKEN="0123456789abcdef") as (
        process,
        greeting,
        port,
    ):
        assert greeting == f"FluxGym is at http://127.0.0.1:{port}/\n"
        assert status(f"http://127.0.0.1:{port}/", Authorization="Bearer 0123456789abcdef") == 200
        process.kill()
        assert process.stdout.read() + process.stderr.read() == ""
    with started(tmp_path, "--public-url", "https://pod.example/gym/") as (process, greeting, port):
        assert greeting == f"FluxGym is at http://127.0.0.1:{port}/gym/\n"
        assert process.stdout.readline() == "From outside: https://pod.example/gym/\n"
        token = process.stdout.readline().split()[-1]
        assert process.stdout.readline() == f"Open https://pod.example/gym/?token={token}\n"
        assert status(f"http://127.0.0.1:{port}/gym/config", Host="pod.example", Authorization=f"Bearer {token}") == 200


def test_app_with_token_that_can_be_guessed_is_reported(tmp_path):
    with started(tmp_path, FLUXGYM_TOKEN="sesame") as (process, _, _):
        assert "only 6 characters" in process.stderr.readline()


@pytest.mark.parametrize("given", ["8044/", "8044"])
def test_app_with_root_path_without_slash_serves_its_page(tmp_path, given):
    with started(tmp_path, "--root-path", given) as (_, greeting, port):
        assert greeting == f"FluxGym is at http://127.0.0.1:{port}/8044/\n"
        for path in ("/8044/", "/8044/config", f"/8044{read_assets().script}", "/"):
            assert status(f"http://127.0.0.1:{port}{path}") == 200


def test_help_reports_what_cannot_be_told_from_local_browser(tmp_path):
    done = subprocess.run(command(tmp_path, "--help"), capture_output=True, text=True, timeout=60)
    text = " ".join(done.stdout.split())
    assert " ".join(LIMIT_OF_PROXY_DETECTION.split()) in text
    for word in ("FLUXGYM_TOKEN", "docs/cloud.md", "HTTP/1.1"):
        assert word in text


def test_app_on_used_port_fails_with_one_message(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert f"Port {port}" in refused(tmp_path, "--port", str(port))


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (("--port", "99999"), "99999"), (("--port", "http"), "http"), (("--host", "no.such.host.invalid"), "no.such.host.invalid"),
        (("--prot", "1"), "--prot"), (("--root-path", "/a b"), "--root-path"), (("--public-url", "pod"), "--public-url"),
    ],
)  # fmt: skip
def test_app_with_invalid_flags_fails_with_one_message(tmp_path, flags, word):
    assert word in refused(tmp_path, *flags)


@pytest.fixture
def many_files():
    """Let this process open the files of 1,100 connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 2048 and hard >= 2048:
        resource.setrlimit(resource.RLIMIT_NOFILE, (2048, hard))
    elif soft < 2048:
        pytest.skip("this user may not open 2,048 files (ulimit -Hn)")
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
def test_half_sent_requests_at_1024_files_stop_neither_page_nor_log(tmp_path):
    with started(tmp_path, max_files=1024) as (process, _, port):
        waiting = [connect(port) for _ in range(1100)]
        for connection in waiting:
            with contextlib.suppress(ConnectionError):  # closed already
                connection.sendall(b"GET / HTTP/1.1\r\nHost: 127")
        for _ in range(5):
            assert get(port, "/fluxgym/api/banner").status == 200
        process.kill()
        errors = process.stderr.read().splitlines()
        assert len(errors) <= 2
        assert "Too many connections" in errors[0]


def test_no_log_has_token_from_address(tmp_path):
    secret = "given-0123456789abcdef"
    with started(tmp_path, "--allow-host", "pod.example", FLUXGYM_TOKEN=secret) as (process, greeting, port):
        assert get(port, f"/?token={secret}", accept="text/html").status == 200
        assert get(port, f"/?token={secret}&x=%ff", accept="text/html", host="pod.example").status == 200
        assert get(port, f"/fluxgym/x?token={secret}").status == 401
        exchange(port, f"GET /?token={secret} HTTP/9\r\n\r\n".encode())
        process.kill()
        assert secret not in greeting + process.stdout.read() + process.stderr.read()


def test_help_lists_flags(tmp_path):
    done = subprocess.run(command(tmp_path, "--help"), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    for flag in ("--host", "--port", "--outputs", "--models", "--sd-scripts", "--root-path", "--token", "--allow-host", "--public-url"):
        assert flag in done.stdout

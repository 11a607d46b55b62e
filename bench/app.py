"""The app as a server and a page, beside a bare Gradio app of the same version: start, size, memory, form visible, requests to others."""

import contextlib
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from bench.table import Figure

ROOT = Path(__file__).parents[1]
BARE = (
    "import gradio as gr, sys\n"
    "with gr.Blocks(analytics_enabled=False) as page:\n    name = gr.Textbox(label='Name'); gr.Button('Start').click(lambda x: x, name, name)\n"
    "page.launch(server_port=int(sys.argv[1]), quiet=True)"
)
SETTLE_S, IDLE_S = 5.0, 20.0  # after the browser was closed; its connections end a moment later
FLAGS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"


def measure(repeats: int) -> list[Figure]:
    """Measure our app and the bare one by turns."""
    ours: dict[str, list[float]] = {}
    bare: dict[str, list[float]] = {}
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            _one([sys.executable, str(ROOT / "app.py"), "--outputs", folder, "--port"], "LoRA name", ours)
        _one([sys.executable, "-c", BARE], "Name", bare)

    def figure(what: str, key: str, unit: str, target: str) -> Figure:
        mine, other = ours.get(key), bare.get(key)
        return Figure(
            what=what, ours=statistics.median(mine) if mine else None, unit=unit, target=target,
            peer=statistics.median(other) if other else None, peer_name="bare Gradio", note="" if mine else "no Chromium here",
        )  # fmt: skip

    return [
        figure("start → first HTTP 200", "start", "s", "ratio <= 1.15"),
        figure("page HTML", "html", "kB", ""),
        figure("page HTML as sent, compressed", "sent", "kB", "<= 60"),
        figure("form visible in a browser", "form", "s", "ratio <= 1.5"),
        figure("server RSS after load", "rss", "MB", "ratio <= 1.15"),
        figure("idle server, no page open: CPU", "idle", "% of a core", "<= 1"),
        figure("requests to other hosts while loading", "other_hosts", "", "0"),
    ]


def _one(command: list[str], label: str, into: dict[str, list[float]]) -> None:
    port = free_port()
    began = time.perf_counter()
    with _server([*command, str(port)]) as process:
        page = _first_answer(port, process)
        into.setdefault("start", []).append(time.perf_counter() - began)
        into.setdefault("html", []).append(len(page) / 1000)
        into.setdefault("sent", []).append(_compressed_size(port) / 1000)
        chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
        if chromium:
            seconds, other_hosts = _look(chromium, f"http://127.0.0.1:{port}/", label)
            into.setdefault("form", []).append(seconds)
            into.setdefault("other_hosts", []).append(other_hosts)
        server = psutil.Process(process.pid)
        into.setdefault("rss", []).append(server.memory_info().rss / 1e6)
        time.sleep(SETTLE_S)
        server.cpu_percent()
        time.sleep(IDLE_S)
        into.setdefault("idle", []).append(server.cpu_percent())


@contextlib.contextmanager
def _server(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    environment = os.environ | {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _first_answer(port: int, process: subprocess.Popen[bytes]) -> bytes:
    while process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
                return bytes(answer.read())
        except OSError:
            time.sleep(0.02)
    raise RuntimeError("the server ended before it answered")


def _compressed_size(port: int) -> int:
    """Return the bytes of the page as a browser receives it."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/", headers={"Accept-Encoding": "gzip"})
    with urllib.request.urlopen(request, timeout=5) as answer:
        return len(answer.read())


def _look(chromium: str, url: str, label: str) -> tuple[float, int]:
    """Return the seconds until the form is visible, and how many requests went to other hosts."""
    from playwright.sync_api import sync_playwright

    other_hosts = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS.split())
        page = browser.new_page()
        page.on("request", lambda request: other_hosts.append(request.url) if not _is_here(request.url) else None)
        began = time.perf_counter()
        page.goto(url)
        page.get_by_label(re.compile(re.escape(label))).first.wait_for(state="visible")
        took = time.perf_counter() - began
        browser.close()
    return took, len(other_hosts)


def _is_here(url: str) -> bool:
    return urlsplit(url).hostname in ("127.0.0.1", "localhost", None)


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

"""Clients of the running app that close their connection in the middle: no traceback in the log, and the app continues."""

import json
import os
import re
import subprocess
import sys

import pytest

from tests.support.drafts import new_draft_id
from tests.support.runs import wait_for
from tests.support.served import connect, get
from tests.support.source_tree import ROOT

JSON = "content-type: application/json\r\n"


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    """Yield (port, log) of an app."""
    folder = tmp_path_factory.mktemp("app")
    run = folder / "outputs" / "cat"
    run.mkdir(parents=True)
    (run / "ui_state.json").write_text(json.dumps({"lora_name": "cat", "status": "completed"}))
    with (run / "training.log").open("wb") as log:
        log.truncate(1 << 28)
    (run / "cat.safetensors").write_bytes(bytes(1 << 24))
    argv = [sys.executable, str(ROOT / "app.py"), "--port", "0", "--outputs", str(folder / "outputs"), "--models", str(folder / "models")]
    with (folder / "log").open("wb") as errors:
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=errors, text=True, env=dict(os.environ))
        try:
            yield int(re.search(r":(\d+)/", process.stdout.readline())[1]), folder / "log"
        finally:
            process.kill()
            process.communicate()


def request(line: str, headers: str = "", body: str = "") -> bytes:
    return f"{line} HTTP/1.1\r\nhost: 127.0.0.1\r\n{headers}\r\n{body}".encode()


BROKEN = {
    "half of the headers": request("GET /")[:-9],
    "half of a JSON body": request("POST /fluxgym/api/selection/contents", f"{JSON}content-length: 100\r\n", '{"runs"'),
    "half of a message to Gradio": request("POST /gradio_api/run/predict", f"{JSON}content-length: 100\r\n", '{"data"'),
    "half of an image": request(f"PUT /fluxgym/drafts/{new_draft_id()}/images/a.png", "content-length: 1000\r\n", "x"),
    "half of an archive": request("PUT /fluxgym/import/a.zip", "content-length: 1000\r\n", "PK"),
    "half of a chunked image": request(f"PUT /fluxgym/drafts/{new_draft_id()}/images/a.png", "transfer-encoding: chunked\r\n", "5\r\nxx"),
    "half of the login form": request("POST /login", "content-length: 100\r\n", "token="),
    "download of a log": request("GET /fluxgym/runs/cat/training.log"),
    "download of a model": request("GET /fluxgym/runs/cat/loras/cat.safetensors"),
    "download of an archive": request("GET /fluxgym/runs/cat/export/everything.zip"),
    "heartbeat": request("GET /gradio_api/heartbeat/x"),
    "queue": request("GET /gradio_api/queue/data?session_hash=x"),
    "unknown call": request("GET /gradio_api/call/v2/x/x"),
    "list": request("GET /fluxgym/api/sessions"),
    "not HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


@pytest.mark.parametrize("sent", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("is_reset", [False, True], ids=["closed", "reset"])
def test_client_that_closes_in_middle_writes_no_traceback(app, sent, is_reset):
    port, log = app
    for wait in (False, True):
        connection = connect(port)
        connection.sendall(sent)
        if wait and sent.startswith(b"GET") and sent.endswith(b"\r\n\r\n"):
            assert connection.recv(1) == b"H"
        if is_reset:
            connection.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER of 0 s: close resets the connection
        connection.close()
    for _ in range(3):
        wait_for(lambda: get(port, "/fluxgym/api/banner").status == 200)
    lines = log.read_text().splitlines()
    assert not any("Traceback" in line or line.startswith("  ") for line in lines)
    assert all("Invalid HTTP request" in line for line in lines)  # one line per minute for what is not HTTP
    assert len(lines) <= 1

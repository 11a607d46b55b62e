"""Faults of the network: addresses that lead out of the folders, and floods of half-sent requests, both against the app as a process."""

import random
import shutil
import socket
from contextlib import suppress
from pathlib import Path

from tests.faults.result import Result, try_each
from tests.support.drafts import new_draft_id
from tests.support.page import App
from tests.support.photos import write_cats
from tests.support.runs import make_run
from tests.support.served import Answer, connect, exchange, get
from tests.support.small_installation import small_installation, write_safetensors

CANARY = "canary-8b21"
MAX_OPEN = 600  # connections of this process at once, more than the app allows one client
PREFIXES = (
    "/fluxgym/runs/cat/samples/", "/fluxgym/runs/cat/loras/", "/fluxgym/runs/cat/images/", "/fluxgym/runs/cat/export/", "/fluxgym/runs/",
    "/fluxgym/assets/x/", "/fluxgym/drafts/{draft}/images/", "/fluxgym/drafts/", "/fluxgym/import/", "/fluxgym/export/", "/fluxgym/api/runs/",
    "/fluxgym/api/sessions/", "/gradio_api/file=", "/gradio_api/", "/static/", "/assets/", "/theme.css/", "/",
)  # fmt: skip
STEPS = (
    "..", "..", "..", "%2e%2e", ".%2e", "%252e%252e", "....", "..;", "%c0%ae%c0%ae", "%uff0e%uff0e", ".", "", "~", "%00", "cat", ".run", ".fluxgym"
)  # fmt: skip
SEPARATORS = ("/", "/", "%2f", "%2F", "%5c", "\\", "//", "%252f", "%c0%af")
TARGETS = (
    "secret.png", "secret.safetensors", "secret.txt", "outputs/secret.png", "models/secret.safetensors", "etc/passwd", "proc/self/environ",
    "training.log", ".run/launch.json", "ui_state.json", "app.py",
)  # fmt: skip
ENDS = ("", "", "%00.png", "%00", "?x=.png", ";.png", "%20", ".", "/", "/.")
METHODS = ("GET", "GET", "GET", "HEAD", "PUT", "DELETE")


def traversals(folder: Path, count: int, seed: int) -> Result:
    """Request and upload paths with every spelling of "..": no secret is sent, nothing is written outside, no server error."""
    app = _app_with_canaries(folder)
    outside = _outside(folder)
    try:

        def attempt(_: int, dice: random.Random) -> str:
            method, path = dice.choice(METHODS), odd_path(dice)
            lost = leak(_request(app.port, method, path)) or ("a file was written" if _outside(folder) != outside else "")
            return f"{method} {path}: {lost}" if lost else ""

        return _checked(app, try_each(count, seed, attempt))
    finally:
        app.kill()


def odd_path(dice: random.Random) -> str:
    """Return an address that leads out of a folder, if anything does."""
    steps = "".join(dice.choice(STEPS) + dice.choice(SEPARATORS) for _ in range(dice.randint(1, 7)))
    start = dice.choice(PREFIXES).format(draft=new_draft_id())
    return start + dice.choice(("", "", "/", "%2f")) + steps + dice.choice(TARGETS) + dice.choice(ENDS)


def leak(answer: Answer) -> str:
    """Return what is wrong with an answer to an odd address, "" if nothing is."""
    if CANARY.encode() in answer.body or b"root:x:0" in answer.body:
        return "a secret was sent"
    is_answer = 0 < answer.status < 500 or answer.status == 507
    return "" if is_answer else f"status {answer.status}"


def _request(port: int, method: str, path: str) -> Answer:
    body = "x" if method == "PUT" else ""
    lines = [f"{method} {path} HTTP/1.1", f"host: 127.0.0.1:{port}", f"content-length: {len(body)}", "connection: close", "", body]
    return exchange(port, "\r\n".join(lines).encode())


def _app_with_canaries(folder: Path) -> App:
    """Start the app over a run; secrets are wherever a wrong path might lead to, also in the run's own folder."""
    world = small_installation(folder)
    run = make_run(world.outputs, "cat", status="completed")
    write_cats(run.dataset, count=1)
    write_safetensors(run.lora)
    run.samples.mkdir()
    for path in (folder / "secret.png", folder / "secret.txt", world.outputs / "secret.png", world.models / "secret.safetensors"):
        path.write_text(CANARY)
    (run.private / "launch.json").write_text(CANARY)
    return App(folder, world.models, "--sd-scripts", str(world.sd_scripts))


def _outside(folder: Path) -> set[Path]:
    """Return the files of the folders that no upload may write into; the app's own log and folder do not count."""
    watched = (folder, folder / "outputs", folder / "models", folder / "outputs" / "cat", folder / "outputs" / "cat" / "dataset")
    return {path for each in watched for path in each.iterdir() if path.name not in (".fluxgym", "app.log")}


def _checked(app: App, result: Result) -> Result:
    """Return the result; a traceback in the app's log is one more loss."""
    if "Traceback" not in app.log.read_text() or not result.held:
        return result
    last = [line for line in app.log.read_text().splitlines() if line.strip()][-1]
    return Result(tried=result.tried, held=result.held - 1, seed=result.seed, note=f"a traceback in the app's log: {last}"[:200])


WHOLE_REQUESTS = (
    "GET / HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: text/html\r\n\r\n",
    "POST /login HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 100\r\n\r\ntoken=" + "x" * 94,
    "PUT /fluxgym/import/x.zip HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 1000\r\n\r\nPK" + "x" * 998,
    "PUT /fluxgym/import/x.zip HTTP/1.1\r\nhost: 127.0.0.1\r\ntransfer-encoding: chunked\r\n\r\n3e8\r\n" + "x" * 1000 + "\r\n0\r\n\r\n",
    "POST /gradio_api/run/predict HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n" + "[" * 50,
    "GET /gradio_api/heartbeat/x HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + "x" * 100,
)
RESET = b"\1\0\0\0\0\0\0\0"  # SO_LINGER of 0 s: close resets the connection


def half_sent_requests(folder: Path, count: int, seed: int) -> Result:
    """Cut requests at any byte, and leave their connections open, close or reset them: a visitor of the same address is always answered."""
    app = App(folder, small_installation(folder).models)
    waiting: list[socket.socket] = []
    try:

        def attempt(_: int, dice: random.Random) -> str:
            waiting.append(_send_half(app.port, dice))
            if len(waiting) > MAX_OPEN or dice.random() < 0.2:
                _end(waiting.pop(dice.randrange(len(waiting))), dice)
            answer = get(app.port, "/fluxgym/api/banner")
            return "" if answer.status == 200 else f"a visitor gets {answer.status}"

        return _checked(app, try_each(count, seed, attempt))
    finally:
        for connection in waiting:
            connection.close()
        app.kill()
        shutil.rmtree(folder / "outputs", ignore_errors=True)


def _send_half(port: int, dice: random.Random) -> socket.socket:
    whole = dice.choice(WHOLE_REQUESTS).encode("latin-1")
    connection = connect(port)
    with suppress(ConnectionError):  # closed already
        connection.sendall(whole[: dice.randrange(len(whole))])
    return connection


def _end(connection: socket.socket, dice: random.Random) -> None:
    if dice.random() < 0.5:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    connection.close()

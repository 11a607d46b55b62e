"""The app as a process and its page in a browser, for tests."""

import os
import re
import time
from base64 import b64encode
from contextlib import suppress
from pathlib import Path
from tempfile import mkstemp

import psutil
from playwright.sync_api import Page, expect

from fluxgym.runs.paths import OutputsPaths
from fluxgym.sessions.control import request_stop, wait_until_ended
from tests.support.app_forks import start_app

ROOT = Path(__file__).parents[2]
DROP_SCRIPT = """async ([names, contents]) => {
  const transfer = new DataTransfer();
  names.forEach((name, index) => transfer.items.add(new File([Uint8Array.from(atob(contents[index]), (c) => c.charCodeAt(0))], name)));
  document.querySelector(".fg-drop").dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
}"""

# The answers to one or several kinds of events are held back until window.release is called.
HOLD_ANSWER = """(kinds) => {
  const send = window.fetch, held = [];
  window.fetch = async (resource, options) => {
    const answer = await send(resource, options);
    if ([kinds].flat().some((kind) => String(options?.body).includes(`"kind":"${kind}"`))) {
      await new Promise((resolve) => { held.push(resolve); window.release = () => held.splice(0).forEach((release) => release()); });
    }
    return answer;
  };
}"""
# Drops files, by path and as base64, in their folders.
DROP_FOLDERS = """(files) => {
  const bytes = (content) => Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
  const entry = ([path, content]) => ({
    isFile: true, name: path.split("/").pop(), fullPath: `/${path}`, file: (resolve) => resolve(new File([bytes(content)], path.split("/").pop())),
  });
  const event = new DragEvent("drop", { bubbles: true, cancelable: true });
  Object.defineProperty(event, "dataTransfer", { value: {
    items: Object.entries(files).map((file) => ({ webkitGetAsEntry: () => entry(file) })), files: [],
  } });
  document.querySelector(".fg-drop").dispatchEvent(event);
}"""


class App:
    """app.py as a process of its own that can be killed and started again on the same port."""

    def __init__(self, folder: Path, models: Path, *flags: str) -> None:
        self.outputs, self.models, self.flags = folder / "outputs", models, flags
        self.log = folder / "app.log"
        self.port = 0
        self.greeting = ""
        self.start()

    @property
    def url(self) -> str:
        """Return the address of the page."""
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        """Start the app and wait until it prints its address."""
        argv = ["--port", str(self.port), "--outputs", str(self.outputs), "--models", str(self.models), *self.flags]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}  # with a browser beside it, two threads are slower than one
        output = Path(mkstemp(dir=self.log.parent, prefix="app-", suffix=".out")[1])
        self.process = psutil.Process(start_app(argv, dict(environment), output, self.log))
        while not (found := re.search(r":(\d+)/.*\n", line := output.read_text())):
            assert self.process.is_running(), f"the app printed {line!r}\n{self.log.read_text()}"
            time.sleep(0.02)
        self.port, self.greeting = int(found[1]), line

    def kill(self) -> None:
        """Kill the process with SIGKILL, as a power cut would."""
        with suppress(psutil.NoSuchProcess):
            self.process.kill()
        self.process.wait()


def stop_all_runs(outputs: Path) -> None:
    """Stop all runs that a test has started and wait until they have ended."""
    for run in OutputsPaths(outputs).runs():
        if request_stop(run, now=True):
            wait_until_ended(run)


def open_page(page: Page, app: App, query: str = "") -> None:
    """Open the page and wait until the form has its first checks."""
    page.goto(app.url + query)
    expect(page.locator(".fg-lines li").first).to_be_attached()


def drop_files(page: Page, files: dict[str, bytes]) -> None:
    """Drop files onto the image area, as from a file manager."""
    page.evaluate(DROP_SCRIPT, [list(files), [b64encode(content).decode() for content in files.values()]])

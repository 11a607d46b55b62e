"""Watchers: clients that poll the app as a page does that is open on a run, and send what they have already."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

PAUSE_S = 2.0


@dataclass
class Answers:
    """What the watchers got: the seconds of each answer, and a sentence for each that was not one."""

    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


@contextmanager
def watching(url: str, slug: str, count: int) -> Iterator[Answers]:
    """Poll a run as `count` open pages do; yields their answers, which are complete at the end."""
    answers = Answers()
    end = threading.Event()
    watchers = [threading.Thread(target=_watch, args=(url, slug, PAUSE_S * index / count, end, answers)) for index in range(count)]
    for watcher in watchers:
        watcher.start()
    try:
        yield answers
    finally:
        end.set()
        for watcher in watchers:
            watcher.join()


def _watch(url: str, slug: str, delay: float, end: threading.Event, answers: Answers) -> None:
    """Be a page that is open on the run."""
    version = seen = ""
    with httpx.Client(base_url=url, timeout=60) as client:
        end.wait(delay)
        while not end.is_set():
            banner = _timed(client, "/fluxgym/api/banner", {"open": slug, "version": version}, answers)
            run = _timed(client, f"/fluxgym/api/runs/{slug}", {"seen": seen}, answers)
            version = banner.json()["version"] if banner is not None and banner.status_code == 200 else version
            seen = run.json()["seen"] if run is not None else seen
            end.wait(PAUSE_S)


def _timed(client: httpx.Client, path: str, query: dict[str, str], answers: Answers) -> httpx.Response | None:
    """Return an answer and note its seconds; None and a note if there is none, or an error."""
    began = time.perf_counter()
    try:
        answer = client.get(path, params=query)
        if answer.is_error:
            raise httpx.HTTPStatusError(f"status {answer.status_code}", request=answer.request, response=answer)
    except httpx.HTTPError as error:
        answers.failures.append(f"{path}: {type(error).__name__} {error}")
        return None
    answers.seconds.append(time.perf_counter() - began)
    return answer

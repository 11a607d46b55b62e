"""Too many open files: nothing is reported as damaged, stopped or missing; a message has the remedy."""

import os
import resource
from contextlib import contextmanager

import pytest

from fluxgym.contract.images.pool import ImagePool
from fluxgym.dataset import images
from fluxgym.dataset.images import check_image, read_size, thumbnail
from fluxgym.engines.registry import is_executing, status_of
from fluxgym.errors import NotReadableNow, StorageError
from fluxgym.runs.checkpoints import list_complete
from fluxgym.runs.launch_spec import holds_start, write_stop_request
from fluxgym.runs.process_identity import identify, is_alive
from fluxgym.runs.snapshot import RunSnapshot
from fluxgym.runs.state import read_state
from fluxgym.sessions.control import stop, wait_until_ended
from fluxgym.sessions.history import repair
from fluxgym.sessions.index import SessionIndex
from fluxgym.sessions.listing import list_sessions, session_of
from fluxgym.sessions.preconditions import ensure_ended
from fluxgym.sessions.resume import resume_preview
from fluxgym.supervisor.attempt import Attempt
from fluxgym.supervisor.lease_keeper import LeaseKeeper
from fluxgym.supervisor.trainer_process import AdoptedTrainer
from fluxgym.trainers.base import backend_of
from tests.support.photos import write_cats
from tests.support.runs import make_run, make_spec, record_processes, state_of, write_checkpoint


@contextmanager
def no_more_files():
    """Let every open of a file fail, as at the limit of open files."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.fixture(name="run")
def fixture_run(tmp_path):
    """A run whose trainer and supervisor is this process."""
    run = make_run(tmp_path / "outputs", status="running")
    me = identify(os.getpid(), "id-cat")
    record_processes(run, "id-cat", 1, me, me)
    run.training_pid.write_text(f"{os.getpid()}\n")
    write_checkpoint(run, "cat-000001-state", 4)
    return run


ACTIONS = {
    "stop": stop,
    "kill": lambda run: stop(run, now=True),
    "state": read_state,
    "repair": repair,
    "row": session_of,
    "list": lambda run: list_sessions(run.folder.parent),
    "index": lambda run: SessionIndex(run.folder.parent).entries(),
    "status": lambda run: status_of(run, {"status": "running"}),
    "is_executing": is_executing,
    "ensure_ended": ensure_ended,
    "checkpoints": lambda run: list_complete(run, backend_of(run)),
    "preview": lambda run: resume_preview(RunSnapshot.read(run)),
    "wait": wait_until_ended,
}


@pytest.mark.parametrize("act", ACTIONS.values(), ids=ACTIONS)
def test_run_is_neither_reported_dead_nor_changed(act, run):
    before = sorted((path, path.lstat().st_mtime_ns) for path in run.folder.rglob("*"))
    with no_more_files(), pytest.raises((StorageError, OSError)) as caught:
        act(run)
    if isinstance(caught.value, StorageError):
        assert "too many files are open" in str(caught.value)
        assert "ulimit -n" in str(caught.value)
    assert sorted((path, path.lstat().st_mtime_ns) for path in run.folder.rglob("*")) == before
    assert state_of(run)["status"] == "running"


@pytest.mark.parametrize("name", ["stop", "kill", "state", "repair", "row", "list", "index", "status", "is_executing", "preview", "wait"])
def test_message_gives_remedy(name, run):
    with no_more_files(), pytest.raises(StorageError, match=r"too many files are open.*try again"):
        ACTIONS[name](run)


def test_unreadable_process_is_not_reported_dead(run):
    me = identify(os.getpid(), "id-cat")
    with no_more_files(), pytest.raises(NotReadableNow):
        is_alive(me)


def test_list_is_complete_after_limit_is_lifted(run):
    index = SessionIndex(run.folder.parent)
    make_run(run.folder.parent, "dog", status="stopped")
    with no_more_files(), pytest.raises(StorageError):
        index.entries()
    assert sorted((entry.slug, str(entry.status)) for entry in index.entries()) == [("cat", "running"), ("dog", "stopped")]
    make_run(run.folder.parent, "owl", status="stopped")
    with no_more_files(), pytest.raises(StorageError):
        index.entries(everything=True)
    assert sorted(entry.slug for entry in index.entries()) == ["cat", "dog", "owl"]


def test_supervisor_continues_watching(run):
    trainer = AdoptedTrainer(identify(os.getpid(), "id-cat"))
    attempt = Attempt(run, make_spec(run, ""), trainer, started_at=0.0, first_attempt=1, lease=LeaseKeeper.take(run.lease))
    write_stop_request(run, "id-cat", 1, 5.0)
    with no_more_files():
        assert attempt.stop_request() is None
        assert trainer.poll() is None
        assert holds_start(run, "id-cat")
    assert attempt.stop_request() is not None


@pytest.mark.parametrize("read", [check_image, read_size, lambda path: thumbnail(path, 64)])
def test_image_is_not_reported_as_damaged(read, tmp_path, monkeypatch):
    for name in ("HEADERS", "DECODERS"):
        monkeypatch.setattr(images, name, ImagePool(1, images.WORKER))  # without processes that are there already
    image = write_cats(tmp_path / "images", count=1) / "cat 0.png"
    with no_more_files(), pytest.raises(NotReadableNow):
        read(image)
    read(image)

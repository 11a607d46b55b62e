"""One outputs folder under unusual conditions: two apps on it, a file system without locks, a read-only and a full one."""

import errno
import fcntl
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fluxgym.engines.dispatcher_process import MODULE
from fluxgym.errors import FluxGymError, StorageError
from fluxgym.runs.locks import file_lock, try_lock
from fluxgym.runs.paths import OutputsPaths
from fluxgym.runs.process_identity import is_alive, read_record
from fluxgym.sessions.control import stop, wait_until_ended
from fluxgym.sessions.listing import list_sessions
from fluxgym.sessions.start import StartRequest, start
from tests.support.page import App
from tests.support.photos import write_cats
from tests.support.runs import wait_for
from tests.support.small_installation import small_installation, state


@pytest.fixture(name="world")
def fixture_world(tmp_path):
    return small_installation(tmp_path)


@pytest.fixture(name="images")
def fixture_images(tmp_path):
    return write_cats(tmp_path / "images", count=2, size=64)


def test_two_apps_on_one_outputs_folder_start_queued_run_once(world, images, tmp_path, monkeypatch):
    monkeypatch.setenv("TEST_HOLD", str(tmp_path / "hold"))
    (tmp_path / "hold").mkdir()
    for name in ("first", "second"):
        (tmp_path / "hold" / name).touch()
        start(StartRequest(state=state(lora_name=name), images=images), world)
    outputs = OutputsPaths(world.outputs)
    second = outputs.run("second")
    wait_for(lambda: statuses(world) == {"first": "running", "second": "queued"})
    wait_for(lambda: not is_alive(read_record(second).supervisor))
    subprocess.run(["pkill", "-9", "-f", f"{MODULE} {world.outputs}"], check=True)
    with ThreadPoolExecutor(2) as pool:
        apps = list(pool.map(lambda _: App(tmp_path, world.models, "--sd-scripts", str(world.sd_scripts)), range(2)))
    try:
        assert apps[0].port != apps[1].port
        for name in ("first", "second"):
            (tmp_path / "hold" / name).unlink()
            wait_for(lambda name=name: statuses(world)[name] == "completed")
        assert second.training_log.read_text().count("== attempt") == 1
    finally:
        for app in apps:
            app.kill()


def statuses(world):
    return {session.slug: str(session.status) for session in list_sessions(world.outputs)}


@pytest.fixture(name="no_locks")
def fixture_no_locks(monkeypatch, tmp_path):
    """Let locks fail on every file but those of FLUXGYM_LOCKS, as some network file systems do."""
    real, allowed = fcntl.flock, os.environ["FLUXGYM_LOCKS"]

    def flock(file, how):
        if not str(Path(f"/proc/self/fd/{file.fileno()}").readlink()).startswith(allowed):
            raise OSError(errno.ENOLCK, "No locks available")
        real(file, how)

    monkeypatch.setattr(fcntl, "flock", flock)


def test_eight_starts_on_file_system_without_locks_start_one_run(no_locks, tmp_path, world, images):
    held = try_lock(tmp_path / "x" / "lock")
    assert try_lock(tmp_path / "x" / "lock") is None
    held.close()
    with file_lock(tmp_path / "x" / "lock", timeout_s=0, busy="no"):
        pass
    with ThreadPoolExecutor(8) as pool:
        ends = list(pool.map(lambda _: begin(world, images), range(8)))
    assert ends.count("") == 1
    run = OutputsPaths(world.outputs).run("my-cat")
    assert wait_until_ended(run).status == "completed"


def begin(world, images):
    try:
        start(StartRequest(state=state(), images=images), world)
    except FluxGymError as error:
        return str(error)
    return ""


@pytest.fixture(name="small_disk")
def fixture_small_disk(world):
    """Put outputs/ on a disk of its own, of 700 MB."""
    world.outputs.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=700m", "tmpfs", str(world.outputs)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield world.outputs
    subprocess.run(["umount", "-l", str(world.outputs)], check=True)


def test_disk_full_during_training_fails_run_with_its_reason(small_disk, world, images, monkeypatch, tmp_path):
    monkeypatch.setenv("TEST_HOLD", str(tmp_path / "hold"))
    (tmp_path / "hold").mkdir()
    (tmp_path / "hold" / "my-cat").touch()
    run = start(StartRequest(state=state(), images=images), world)
    wait_for(lambda: statuses(world) == {"my-cat": "running"})
    with (small_disk / "ballast").open("wb") as ballast, pytest.raises(OSError, match="No space"):
        while True:
            ballast.write(bytes(1 << 20))
            ballast.flush()
    assert statuses(world) == {"my-cat": "running"}
    stop(run, now=True)  # there is room for just that
    assert wait_until_ended(run).reason_code == "user"
    assert statuses(world) == {"my-cat": "stopped"}
    (small_disk / "ballast").unlink()
    assert statuses(world) == {"my-cat": "stopped"}


def test_disk_read_only_during_training_fails_run_with_its_reason(small_disk, world, images):
    run = start(StartRequest(state=state(), images=images), world)
    wait_until_ended(run)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert statuses(world) == {"my-cat": "completed"}
    with pytest.raises(StorageError, match="cannot be written"):
        start(StartRequest(state=state(lora_name="other"), images=images), world)
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)

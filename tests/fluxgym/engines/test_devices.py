"""Which devices a run may use, derived from what the driver shows, and how it locks them."""

import errno
import os
from pathlib import Path

import pytest

from fluxgym.engines import devices
from fluxgym.engines.devices import (
    DeviceUser,
    LocalDevices,
    acquire_devices,
    are_free,
    are_there,
    current_user,
    devices_of,
    num_gpus,
    title,
)
from fluxgym.errors import StorageError
from fluxgym.runs.launch_spec import DeviceRequest, LaunchSpec
from fluxgym.runs.locks import local_locks

OUTPUTS = Path("/outputs")


@pytest.fixture(name="machine")
def fixture_machine(tmp_path, monkeypatch):
    """Return a function that gives the machine so many GPUs, and says which of them this process is shown."""

    def has(count, visible=None):
        signs = tmp_path / f"gpus-{count}"
        for number in range(count):
            (signs / f"0000:{number:02x}:00.0").mkdir(parents=True, exist_ok=True)
        monkeypatch.setattr(devices, "GPU_SIGNS", (signs,))
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    return has


@pytest.mark.parametrize(
    ("count", "visible", "gpus", "expected"),
    [
        (0, None, None, ["cpu"]),
        (0, None, "0,1", ["cpu"]),
        (1, None, None, ["gpu-0"]),
        (3, None, None, ["gpu-0", "gpu-1", "gpu-2"]),
        (3, "1,2", None, ["gpu-1", "gpu-2"]),
        (3, "2", None, ["gpu-2"]),
        (3, "", None, ["cpu"]),
        (3, "-1", None, ["cpu"]),
        (3, None, "2,0", ["gpu-0", "gpu-2"]),
        (3, "0", "1", ["gpu-1"]),
    ],
)
def test_devices_of_run(machine, count, visible, gpus, expected):
    machine(count, visible)
    assert devices_of(gpus) == expected
    assert num_gpus() == count


def test_unlisted_card_counts_as_one_gpu(machine, monkeypatch, tmp_path):
    machine(0)
    (tmp_path / "dxg").touch()
    monkeypatch.setattr(devices, "GPU_SIGNS", (tmp_path / "none", tmp_path / "dxg"))
    assert devices_of(None) == ["gpu-0"]
    assert are_there("0,1")  # cannot be known


@pytest.mark.parametrize(("gpus", "there"), [("0", True), ("0,1", True), ("2", False), ("0,2", False)])
def test_missing_gpus_are_detected(machine, gpus, there):
    machine(2)
    assert are_there(gpus) is there


def test_request_for_any_device_takes_first_free_one():
    both = DeviceRequest(kind="gpu", ids=("0", "1"))
    first = acquire_devices(both, OUTPUTS / "ann")
    second = acquire_devices(both, OUTPUTS / "ben")
    assert [held.env for held in (first, second)] == [{"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "1"}]
    assert [current_user(device) for device in both.names] == [DeviceUser(slug=name, outputs=str(OUTPUTS)) for name in ("ann", "ben")]
    assert acquire_devices(both, OUTPUTS / "cat") is None
    first.release()
    assert acquire_devices(both, OUTPUTS / "cat", reserved_by_earlier={"gpu-0"}) is None
    third = acquire_devices(both, OUTPUTS / "cat", reserved_by_earlier={"gpu-1"})
    assert third.env == {"CUDA_VISIBLE_DEVICES": "0"}
    for held in (second, third):
        held.release()


def test_several_devices_are_acquired_atomically():
    one = acquire_devices(DeviceRequest(kind="gpu", ids=("1",), any_free=False), OUTPUTS / "ann")
    assert acquire_devices(DeviceRequest(kind="gpu", ids=("0", "1"), count=2, any_free=False), OUTPUTS / "ben") is None
    assert acquire_devices(DeviceRequest(kind="gpu", ids=("0",), any_free=False), OUTPUTS / "cat", reserved_by_earlier={"gpu-0"}) is None
    alone = acquire_devices(DeviceRequest(kind="gpu", ids=("0",), any_free=False), OUTPUTS / "cat")  # the attempt for both has left it free
    assert alone.env == {}
    one.release()
    alone.release()


@pytest.mark.parametrize(("ids", "env"), [((), {}), (("2",), {"CUDA_VISIBLE_DEVICES": "2"})])
def test_only_device_is_shown_whatever_its_supervisor_sees(ids, env):
    held = acquire_devices(DeviceRequest(kind="gpu" if ids else "cpu", ids=ids), OUTPUTS / "ann")
    assert held.env == env
    held.release()


def test_request_without_devices_is_granted_at_once():
    assert acquire_devices(DeviceRequest(), OUTPUTS / "ann").locks == ()


def test_device_names_are_readable():
    assert [title(device) for device in ("cpu", "gpu-3")] == ["the CPU", "GPU 3"]
    assert current_user("gpu-7") is None


def test_user_of_device_is_known_while_it_holds_lock_and_probe_does_not_change_it():
    cpu = DeviceRequest(kind="cpu")
    held = acquire_devices(cpu, OUTPUTS / "ann")
    assert not are_free(cpu)
    assert current_user("cpu") == DeviceUser(slug="ann", outputs=str(OUTPUTS))
    written = (local_locks() / "device-cpu.lock").read_bytes()
    held.release()
    assert are_free(cpu)
    assert not are_free(cpu, reserved_by_earlier={"cpu"})
    assert current_user("cpu") is None
    assert (local_locks() / "device-cpu.lock").read_bytes() == written


def test_full_lock_folder_is_reported_and_device_stays_free(monkeypatch):
    def write(handle, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full, pytest.raises(StorageError, match=r"The disk is full: .*locks could not be written"):
        full.setattr(devices.os, "write", write)
        acquire_devices(DeviceRequest(kind="cpu"), OUTPUTS / "ann")
    assert are_free(DeviceRequest(kind="cpu"))


def test_removed_lock_file_is_locked_again(monkeypatch):
    cpu, path = DeviceRequest(kind="cpu"), local_locks() / "device-cpu.lock"
    held = acquire_devices(cpu, OUTPUTS / "ann")
    os.utime(path, (1000.0, 1000.0))
    held.renew()
    assert path.stat().st_mtime > 1e9
    path.unlink()
    for _ in range(2):
        held.renew()
    assert not are_free(cpu)
    assert current_user("cpu") == DeviceUser(slug="ann", outputs=str(OUTPUTS))
    assert len(held.file_descriptors) == 2
    held.release()
    assert are_free(cpu)


def test_assigned_run_keeps_devices_that_its_starter_sees(monkeypatch):
    spec = LaunchSpec(run_id="id-cat", attempt=1, trainer_dir="/")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert LocalDevices().assign(spec, None).env == {}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert LocalDevices().assign(spec, None).env == {"CUDA_VISIBLE_DEVICES": ""}
    assert LocalDevices().assign(spec, "0,1").env == {"CUDA_VISIBLE_DEVICES": "0,1"}

"""Tickets on disk: their keys are those of earlier versions, their order is kept, and damaged ones are ignored."""

import json
import os
import time
from dataclasses import replace

import pytest

from fluxgym.engines.device_queue import Queue, Ticket, waiting_reason
from fluxgym.engines.devices import acquire_devices
from fluxgym.errors import SessionError
from fluxgym.runs.launch_spec import DeviceRequest
from fluxgym.runs.paths import OutputsPaths
from fluxgym.runs.process_identity import identify
from tests.support.runs import make_run, record_processes

CPU = DeviceRequest(kind="cpu")


@pytest.fixture(name="queue")
def fixture_queue(tmp_path):
    return Queue(OutputsPaths(tmp_path))


def joined(queue, tmp_path, *names):
    runs = [make_run(tmp_path, name) for name in names]
    for run in runs:
        queue.join(run, f"id-{run.slug}", ["cpu"])
    return runs


def order(queue):
    return [(ticket.position, ticket.slug) for ticket in queue.tickets()]


def test_a_ticket_has_the_keys_of_earlier_versions(queue, tmp_path):
    (run,) = joined(queue, tmp_path, "cat")
    written = json.loads(run.ticket.read_text())
    assert written | {"slug": "cat", "run_id": "id-cat", "place": 1, "devices": ["cpu"], "revived_at": 0.0} == written
    assert sorted(written) == ["devices", "place", "revived_at", "run_id", "since", "slug"]
    assert queue.tickets() == [Ticket.from_json(written)]


def test_a_run_that_joins_again_keeps_its_position_and_another_start_does_not(queue, tmp_path):
    first, _ = joined(queue, tmp_path, "a", "b")
    queue.join(first, "id-a", ["cpu"])
    assert order(queue) == [(1, "a"), (2, "b")]
    queue.join(first, "of another start", ["cpu"])
    assert order(queue) == [(2, "b"), (3, "a")]


@pytest.mark.parametrize(("position", "names"), [(0, "cab"), (1, "cab"), (2, "acb"), (3, "abc"), (9, "abc")])
def test_a_run_is_moved_to_a_position(queue, tmp_path, position, names):
    joined(queue, tmp_path, "a", "b", "c")
    queue.move("c", position)
    assert [slug for _, slug in order(queue)] == list(names)


def test_a_run_that_does_not_wait_is_not_moved(queue, tmp_path):
    joined(queue, tmp_path, "a")
    with pytest.raises(SessionError, match="z does not wait"):
        queue.move("z", 1)


DAMAGED = [[], 1, None, {}, {"place": "1"}, {"devices": "cpu"}, {"devices": [1]}, {"since": "now"}, {"slug": "dog"}, {"run_id": None}]


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_ticket_is_ignored(queue, tmp_path, damage):
    (run,) = joined(queue, tmp_path, "cat")
    good = json.loads(run.ticket.read_text())
    run.ticket.write_text(json.dumps(good | damage if damage and isinstance(damage, dict) else damage))
    assert queue.tickets() == []


def test_only_active_tickets_for_the_same_device_are_ahead(queue, tmp_path):
    first, second, third = joined(queue, tmp_path, "a", "b", "c")
    queue.join(first, "id-a", ["gpu-0"])
    assert queue.ahead_of(third) == []  # none of their supervisors is alive
    for ticket in queue.tickets():
        queue.mark_restarted(ticket)
    assert [ticket.slug for ticket in queue.ahead_of(third)] == ["b"]
    assert queue.ahead_of(second) == []


def test_run_that_waits_on_another_host_is_abandoned_when_its_lease_is_not_renewed(queue, tmp_path):
    (run,) = joined(queue, tmp_path, "cat")
    run.private.mkdir(parents=True, exist_ok=True)
    there = replace(identify(os.getpid(), "id-cat"), boot_id="another", host="pod")
    record_processes(run, "id-cat", 1, there, None)
    (ticket,) = queue.tickets()
    assert queue.is_abandoned(ticket)
    run.lease.write_text("{}")
    assert (queue.is_abandoned(ticket), queue.waits_elsewhere(ticket)) == (False, True)
    assert queue.ahead_of(run) == []
    os.utime(run.lease, (time.time() - 300,) * 2)
    assert (queue.is_abandoned(ticket), queue.waits_elsewhere(ticket)) == (True, False)


def test_the_reason_names_devices_users_and_the_next_run(queue, tmp_path):
    run, second, third = joined(queue, tmp_path, "a", "b", "c")
    assert waiting_reason(run, CPU, []) == "Waiting for the CPU; it is first in this queue."
    lease = acquire_devices(CPU, tmp_path / "cat")
    ahead = queue.tickets()
    assert waiting_reason(third, CPU, ahead[:1]) == "Waiting for the CPU, which “cat” uses; ahead of it: a."
    assert waiting_reason(third, CPU, ahead[:2]) == "Waiting for the CPU, which “cat” uses; ahead of it: a and 1 more."
    both = DeviceRequest(kind="gpu", ids=("0", "1"))
    assert waiting_reason(second, both, []) == "Waiting for GPU 0 or GPU 1; it is first in this queue."
    assert (
        waiting_reason(second, DeviceRequest(kind="gpu", ids=("0", "1"), any_free=False), [])
        == "Waiting for GPU 0 and GPU 1; it is first in this queue."
    )
    lease.release()


def test_a_run_of_the_same_name_in_another_folder_is_named_as_the_user(queue, tmp_path):
    (run,) = joined(queue, tmp_path, "cat")
    lease = acquire_devices(CPU, tmp_path / "other" / "cat")
    assert waiting_reason(run, CPU, []) == "Waiting for the CPU, which “cat” of another outputs folder uses; it is first in this queue."
    lease.release()
    acquire_devices(CPU, run.folder).release()
    assert waiting_reason(run, CPU, []) == "Waiting for the CPU; it is first in this queue."


def test_the_user_that_an_earlier_version_recorded_has_no_folder(queue, tmp_path):
    (run,) = joined(queue, tmp_path, "cat")
    acquire_devices(CPU, run.folder).release()
    (lock,) = (tmp_path / "locks").glob("device-*")
    lock.write_text('{"holder": "dog"}')
    assert waiting_reason(run, CPU, []) == "Waiting for the CPU, which “dog” uses; it is first in this queue."

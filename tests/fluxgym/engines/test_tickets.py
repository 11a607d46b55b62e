"""Tickets on disk: their keys are those of earlier versions, and their order is kept."""

import json

import pytest

from fluxgym.engines.tickets import Tickets
from fluxgym.errors import SessionError
from fluxgym.runs.paths import OutputsPaths
from fluxgym.runs.ticket import Ticket
from tests.support.runs import make_run


@pytest.fixture(name="queue")
def fixture_queue(tmp_path):
    return Tickets(OutputsPaths(tmp_path))


def joined(queue, tmp_path, *names):
    runs = [make_run(tmp_path, name) for name in names]
    for run in runs:
        queue.join(run, f"id-{run.slug}", ["cpu"])
    return runs


def order(queue):
    return [(ticket.position, ticket.slug) for ticket in queue.all()]


def test_a_ticket_has_the_keys_of_earlier_versions(queue, tmp_path):
    (run,) = joined(queue, tmp_path, "cat")
    written = json.loads(run.ticket.read_text())
    assert written | {"slug": "cat", "run_id": "id-cat", "place": 1, "devices": ["cpu"]} == written
    assert sorted(written) == ["devices", "place", "run_id", "since", "slug"]
    assert queue.all() == [Ticket.from_json(written)] == [Ticket.from_json(written | {"revived_at": 0.0})]


def test_a_run_that_joins_again_keeps_its_position_and_another_start_does_not(queue, tmp_path):
    first, _ = joined(queue, tmp_path, "a", "b")
    queue.join(first, "id-a", ["cpu"])
    assert order(queue) == [(1, "a"), (2, "b")]
    queue.join(first, "of another start", ["cpu"])
    assert order(queue) == [(2, "b"), (3, "a")]


def test_an_unchanged_ticket_is_not_written_again(queue, tmp_path):
    (run,) = joined(queue, tmp_path, "cat")
    before = run.ticket.stat().st_ino
    queue.join(run, "id-cat", ["cpu"])
    assert run.ticket.stat().st_ino == before
    queue.join(run, "id-cat", ["gpu-0"])
    assert run.ticket.stat().st_ino != before


@pytest.mark.parametrize(("position", "names"), [(0, "cab"), (1, "cab"), (2, "acb"), (3, "abc"), (9, "abc")])
def test_a_run_is_moved_to_a_position(queue, tmp_path, position, names):
    joined(queue, tmp_path, "a", "b", "c")
    queue.move("c", position)
    assert [slug for _, slug in order(queue)] == list(names)


def test_a_run_that_does_not_wait_is_not_moved(queue, tmp_path):
    joined(queue, tmp_path, "a")
    with pytest.raises(SessionError, match="z does not wait"):
        queue.move("z", 1)


def test_only_the_ticket_of_the_same_start_is_removed(queue, tmp_path):
    (run,) = joined(queue, tmp_path, "cat")
    queue.remove(run, "of another start")
    assert order(queue) == [(1, "cat")]
    queue.remove(run, "id-cat")
    assert order(queue) == []


def test_a_ticket_that_is_not_there_is_removed_without_creating_a_folder(queue, tmp_path):
    queue.remove(OutputsPaths(tmp_path).run("cat"), "id-cat")
    assert not OutputsPaths(tmp_path).own.exists()

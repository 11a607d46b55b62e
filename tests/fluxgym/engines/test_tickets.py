"""Tickets on disk: their keys are those of earlier versions, and their order is kept."""

import json

import pytest

from fluxgym.engines.tickets import Tickets
from fluxgym.errors import SessionError
from fluxgym.runs.paths import OutputsPaths
from fluxgym.runs.ticket import Ticket
from tests.support.runs import make_run


@pytest.fixture(name="tickets")
def fixture_tickets(tmp_path):
    return Tickets(OutputsPaths(tmp_path))


def joined(tickets, tmp_path, *names):
    runs = [make_run(tmp_path, name) for name in names]
    for run in runs:
        tickets.join(run, f"id-{run.slug}", ["cpu"])
    return runs


def order(tickets):
    return [(ticket.position, ticket.slug) for ticket in tickets.all()]


def test_ticket_has_keys_of_earlier_versions(tickets, tmp_path):
    (run,) = joined(tickets, tmp_path, "cat")
    written = json.loads(run.ticket.read_text())
    assert written | {"slug": "cat", "run_id": "id-cat", "place": 1, "devices": ["cpu"]} == written
    assert sorted(written) == ["devices", "place", "run_id", "since", "slug"]
    assert tickets.all() == [Ticket.from_json(written)] == [Ticket.from_json(written | {"revived_at": 0.0})]


def test_run_that_joins_again_keeps_its_position_and_another_start_does_not(tickets, tmp_path):
    first, _ = joined(tickets, tmp_path, "a", "b")
    tickets.join(first, "id-a", ["cpu"])
    assert order(tickets) == [(1, "a"), (2, "b")]
    tickets.join(first, "of another start", ["cpu"])
    assert order(tickets) == [(2, "b"), (3, "a")]


def test_unchanged_ticket_is_not_written_again(tickets, tmp_path):
    (run,) = joined(tickets, tmp_path, "cat")
    before = run.ticket.stat().st_ino
    tickets.join(run, "id-cat", ["cpu"])
    assert run.ticket.stat().st_ino == before
    tickets.join(run, "id-cat", ["gpu-0"])
    assert run.ticket.stat().st_ino != before


@pytest.mark.parametrize(("position", "names"), [(0, "cab"), (1, "cab"), (2, "acb"), (3, "abc"), (9, "abc")])
def test_run_is_moved_to_position(tickets, tmp_path, position, names):
    joined(tickets, tmp_path, "a", "b", "c")
    tickets.move("c", position)
    assert [slug for _, slug in order(tickets)] == list(names)


def test_run_that_does_not_wait_is_not_moved(tickets, tmp_path):
    joined(tickets, tmp_path, "a")
    with pytest.raises(SessionError, match="z does not wait"):
        tickets.move("z", 1)


def test_only_ticket_of_same_start_is_removed(tickets, tmp_path):
    (run,) = joined(tickets, tmp_path, "cat")
    tickets.remove(run, "of another start")
    assert order(tickets) == [(1, "cat")]
    tickets.remove(run, "id-cat")
    assert order(tickets) == []


def test_ticket_that_does_not_exist_is_removed_without_creating_folder(tickets, tmp_path):
    tickets.remove(OutputsPaths(tmp_path).run("cat"), "id-cat")
    assert not OutputsPaths(tmp_path).own.exists()

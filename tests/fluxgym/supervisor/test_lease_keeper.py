"""A supervisor's lease: numbered, renewed, lost to the next one, and never written into a folder that was removed."""

import shutil
import socket

import pytest

from fluxgym.contract.lease import read_lease
from fluxgym.supervisor import lease_keeper
from fluxgym.supervisor.lease_keeper import LeaseKeeper


@pytest.fixture(name="path")
def fixture_path(tmp_path):
    return tmp_path / "cat" / ".run" / "lease.json"


def test_each_start_takes_next_number_from_one_before(path):
    first, second = LeaseKeeper.take(path), LeaseKeeper.take(path)
    lease = read_lease(path)
    assert (lease.host, lease.number, lease.holder) == (socket.gethostname(), 2, second.holder)
    assert (first.keep(), second.keep()) == (False, True)
    assert first.is_lost()
    assert not second.is_lost()


def test_lease_is_renewed_while_it_is_kept(path, monkeypatch):
    keeper = LeaseKeeper.take(path)
    before = read_lease(path)
    assert keeper.keep()
    assert read_lease(path) == before
    monkeypatch.setattr(lease_keeper, "RENEW_S", 0.0)
    assert keeper.keep()
    assert read_lease(path).renewed_at > before.renewed_at


def test_lost_lease_is_not_written(path, monkeypatch):
    monkeypatch.setattr(lease_keeper, "RENEW_S", 0.0)
    first, second = LeaseKeeper.take(path), LeaseKeeper.take(path)
    assert not first.keep()
    assert read_lease(path).holder == second.holder


def test_removed_folder_is_not_created_again(path, monkeypatch):
    monkeypatch.setattr(lease_keeper, "RENEW_S", 0.0)
    keeper = LeaseKeeper.take(path)
    shutil.rmtree(path.parents[1])
    assert keeper.keep()
    assert not path.parents[1].exists()


def test_supervisor_that_only_stops_trainer_keeps_its_lease(path):
    first = LeaseKeeper.take(path)
    assert LeaseKeeper.adopt(path).holder == first.holder
    path.unlink()
    LeaseKeeper.adopt(path)  # the trainer of an earlier version has none
    assert read_lease(path).number == 1

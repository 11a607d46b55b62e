"""The lease on a run's folder is lost only if the file names another holder."""

import json

import pytest

from fluxgym.contract.lease import RunLease, has_lost, read_lease

LEASE = {"host": "pod-1", "number": 2, "renewed_at": 12.5, "holder": "abc"}


def test_lease_has_host_number_and_time(tmp_path):
    (tmp_path / "lease.json").write_text(json.dumps(LEASE | {"more": 1}))
    assert read_lease(tmp_path / "lease.json") == RunLease(host="pod-1", number=2, renewed_at=12.5, holder="abc")


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"host": 7}', json.dumps(LEASE | {"holder": 7}), json.dumps(LEASE | {"number": "2"}), "[" * 5000]
)
def test_damaged_or_missing_lease_proves_nothing(tmp_path, text):
    path = tmp_path / "lease.json"
    assert not has_lost(path, "abc")
    path.write_text(text)
    assert read_lease(path) is None
    assert not has_lost(path, "abc")


def test_lease_of_another_holder_is_lost(tmp_path):
    path = tmp_path / "lease.json"
    path.write_text(json.dumps(LEASE))
    assert not has_lost(path, "abc")
    assert has_lost(path, "abd")

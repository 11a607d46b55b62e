"""The short form of the fault suite: a few of each; `make faults` injects many."""

import pytest

from tests.faults import truth

SHORT = (
    (truth.reused_pids, 10), (truth.reused_groups, 4), (truth.reboots, 1), (truth.escaping_children, 4), (truth.parallel_starts, 1),
    (truth.damaged_states, 400), (truth.killed_writes, 5), (truth.healthy_phases, 30),
)  # fmt: skip


@pytest.mark.parametrize(("fault", "count"), SHORT, ids=lambda value: getattr(value, "__name__", ""))
def test_fault_test_reports_no_violation(fault, count, tmp_path):
    result = fault(tmp_path, count)
    if result.note and not result.tried:
        pytest.skip(result.note)
    assert result.held == result.tried, result.note

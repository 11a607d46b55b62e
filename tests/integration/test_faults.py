"""The short form of the fault suite: a few tries of each row that is not a test module; `make faults` makes many."""

import pytest

from tests.faults.suite import ROWS

SHORT = [row for row in ROWS if row.short]


@pytest.mark.parametrize("row", SHORT, ids=lambda row: row.fault.__name__)
def test_injected_fault_loses_nothing(row, tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    result = row.fault(folder, row.short, 0)
    if not result.tried:
        pytest.skip(result.note)
    assert result.lost == 0, result.note

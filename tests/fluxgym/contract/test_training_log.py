"""The header of an attempt is found as it is written."""

import pytest

from fluxgym.contract.training_log import attempt_header, has_attempt_header


@pytest.mark.parametrize("before", [b"", b"steps:  50%|##  | 5/10 [00:05<00:05]"])
def test_header_is_found_after_what_killed_trainer_wrote_last(before):
    header = attempt_header(12, "1f2e3d", "2026-11-30 01:02:03")
    assert header == "== attempt 12 of run 1f2e3d, 2026-11-30 01:02:03 ==\n"
    assert has_attempt_header(before + header.encode())


def test_other_lines_are_not_headers():
    assert not has_attempt_header(b"the second attempt of run 2")

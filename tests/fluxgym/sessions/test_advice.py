"""Every reason code has a cause in a few words, and advice that names something to do."""

import pytest

from fluxgym.contract.codes import ReasonCode
from fluxgym.sessions.advice import TABLE, advice_for


def test_every_reason_code_has_advice():
    assert set(TABLE) == set(ReasonCode)


@pytest.mark.parametrize("code", ReasonCode)
def test_advice_is_sentences_under_a_short_title(code):
    found = advice_for(code)
    assert 0 < len(found.title) <= 60
    assert not found.title.endswith(".")
    assert bool(found.lines) == (code is not ReasonCode.USER)
    assert all(line[0].isupper() or line[0] == "“" for line in found.lines)
    assert all(line.endswith(".") for line in found.lines)


@pytest.mark.parametrize("code", ["", "of_a_later_version"])
def test_unknown_code_gets_the_advice_for_an_unknown_cause(code):
    assert advice_for(code) is TABLE[ReasonCode.UNKNOWN]

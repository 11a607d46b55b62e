"""Every reason code has a cause in a few words, and advice that names something to do."""

import pytest

from fluxgym.contract.codes import ReasonCode
from fluxgym.sessions.advice import TABLE, advice_for


def test_every_reason_code_has_advice():
    assert set(TABLE) == set(ReasonCode)


@pytest.mark.parametrize("code", ReasonCode)
def test_advice_is_messages_under_short_title(code):
    found = advice_for(code)
    assert 0 < len(found.title) <= 60
    assert not found.title.endswith(".")
    assert bool(found.lines_for({})) == (code is not ReasonCode.USER)
    assert all(line[0].isupper() or line[0] == "“" for line in found.lines_for({}))
    assert all(line.endswith(".") for line in found.lines_for({}))


@pytest.mark.parametrize("code", ["", "of_a_later_version"])
def test_unknown_code_gets_advice_for_unknown_cause(code):
    assert advice_for(code) is TABLE[ReasonCode.UNKNOWN]


@pytest.mark.parametrize(
    ("code", "state", "advised"),
    [
        ("cuda_oom", {"vram": "20G"}, "less GPU memory (VRAM) or a smaller resolution"),
        (
            "cuda_oom",
            {"vram": "20G", "advanced": {"train_batch_size": 4}},
            "less GPU memory (VRAM), a smaller resolution or a smaller batch",
        ),
        ("cuda_oom", {"vram": "8G"}, "a smaller resolution"),
        ("cuda_oom", {"vram": "8G", "advanced": {"train_batch_size": 1}}, "a smaller resolution"),
        ("ram_oom", {"workers": 2, "advanced": []}, "fewer workers"),
        ("ram_oom", {"workers": 0}, ""),
    ],
)
def test_advice_against_lack_of_memory_names_only_what_settings_allow(code, state, advised):
    found = advice_for(code)
    more = found.lines_for(state)[len(found.lines) :]
    assert more == ((f"Choose “Edit as new training”, and choose {advised}.",) if advised else ())

"""Whose trainer is it, and what does it know: a checkout of kohya's is told from our own trainer by its files."""

import sys
from pathlib import Path

import pytest

from fluxgym.errors import LaunchError
from fluxgym.trainers.kohya.backend import is_kohya_checkout, known_options, python_of, refuse_unknown
from tests.support.fake_kohya import write_checkout

OURS = Path(__file__).parents[3] / "sd-scripts"


def test_ours_is_not_foreign_and_a_checkout_is(tmp_path):
    assert not is_kohya_checkout(OURS)
    assert is_kohya_checkout(write_checkout(tmp_path / "kohya"))
    assert not is_kohya_checkout(tmp_path / "nowhere")


def test_its_options_are_read_from_its_sources(tmp_path):
    checkout = write_checkout(tmp_path / "kohya")
    (checkout / "flux_train_network.py").write_text("parser.add_argument(\n    '--another_one', type=int)\n# \"--resume=x\" is no option")
    known = known_options(checkout)
    assert {"--another_one", "--learning_rate"} <= known
    assert "--resume=x" not in known
    refuse_unknown(checkout, ["--another_one"])
    with pytest.raises(LaunchError, match="--ours_alone, --ours_too"):
        refuse_unknown(checkout, ["--resume", "--ours_alone", "--ours_too"])


def test_our_own_trainer_is_not_asked():
    refuse_unknown(OURS, ["--whatever"])


def test_a_checkout_runs_in_its_own_environment_if_it_has_one(tmp_path):
    checkout = write_checkout(tmp_path / "kohya")
    assert python_of(checkout) == sys.executable
    (checkout / "venv" / "bin").mkdir(parents=True)
    (checkout / "venv" / "bin" / "python").touch()
    assert python_of(checkout) == str(checkout / "venv" / "bin" / "python")
    assert python_of(OURS) == sys.executable

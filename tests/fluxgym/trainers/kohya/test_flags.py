"""Kohya's flags are read from its sources: names, and the values that its parser takes."""

import os

import pytest

from fluxgym.trainers.kohya.flags import read_flags

SOURCE = """
parser.add_argument("--seed", type=int, default=None, help="random seed (or none) / 乱数 :)")  # a comment (
parser.add_argument(
    "--loss", "--loss_type",
    type=str,
    choices=["l1", "l2"],  # others (huber) come later
)
parser.add_argument("--rates", type=float, nargs="*")
parser.add_argument("--on", action="store_true")
parser.add_argument("--computed", type=str, choices=list(NAMES))
parser.add_argument("--either", action=argparse.BooleanOptionalAction)
parser.add_argument("--broken"
"""


@pytest.fixture(name="flags")
def fixture_flags(tmp_path):
    (tmp_path / "flux_train_network.py").write_text(SOURCE)
    return read_flags(tmp_path)


@pytest.mark.parametrize(
    ("flag", "values", "wrong"),
    [
        ("--seed", ("42",), None), ("--seed", ("4.2",), "does not accept “4.2”."), ("--seed", ("1", "2"), "does not accept “1 2”."),
        ("--seed", None, "needs a value."), ("--loss_type", ("l2",), None),
        ("--loss", ("huber",), "does not accept “huber”. Choose l1 or l2."), ("--rates", ("1e-4", "2"), None),
        ("--rates", ("1e-4", "x"), "does not accept “1e-4 x”."), ("--on", None, None), ("--on", ("1",), "does not accept “1”."),
        ("--computed", ("any",), None), ("--broken", ("any",), None), ("--either", None, None), ("--unknown", ("any",), None),
    ],
)  # fmt: skip
def test_values_are_parsed_as_by_argparse(flags, flag, values, wrong):
    assert flags.refused_value(flag, values) == wrong


def test_names_are_those_in_quotes(flags):
    assert flags.names == {"--seed", "--loss", "--loss_type", "--rates", "--on", "--computed", "--either", "--broken"}


def test_value_that_one_script_of_checkout_takes_is_taken(tmp_path):
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "train_util.py").write_text('parser.add_argument("--precision", choices=["bf16"])')
    (tmp_path / "other.py").write_text('parser.add_argument("--precision", choices=["bf16", "fp16"])')
    assert read_flags(tmp_path).refused_value("--precision", ("fp16",)) is None
    assert read_flags(tmp_path).refused_value("--precision", ("fp8",)) is not None


def test_changed_checkout_is_read_again(tmp_path):
    source = tmp_path / "train.py"
    source.write_text('parser.add_argument("--one")')
    assert read_flags(tmp_path).names == {"--one"}
    source.write_text('parser.add_argument("--two")')
    os.utime(source, ns=(1, 1))
    assert read_flags(tmp_path).names == {"--two"}

"""What argparse says about a wrong command line becomes a sentence that names the flag, whichever parser says it."""

import argparse

import pytest

from fluxgym.app_settings import build_parser
from fluxgym.cli.main import build_parser as build_cli_parser
from fluxgym.contract.command_line import plain_sentence
from fluxgym.errors import SettingsError


class Loud(argparse.ArgumentParser):
    """A parser that raises what argparse would print."""

    def error(self, message):
        raise ValueError(message)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--epochs", "x"], "--epochs needs a whole number, not “x”."),
        (["--rate", "x"], "--rate needs a number, not “x”."),
        (["--rate"], "--rate needs a value."),
        (["--quiet=3"], "--quiet takes no value; remove “3”."),
        (["--kind", "c"], "--kind must be one of a, b, not “c”."),
        (["--nosuch", "1"], "“--nosuch 1” is not known."),
        ([], "--epochs is missing."),
        (["--epochs", "1", "--quiet", "--loud"], "--loud: not allowed with argument --quiet."),
    ],
)
def test_messages_of_argparse_become_sentences(words, sentence):
    parser = Loud()
    parser.add_argument("--epochs", type=int, required=not words)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--kind", choices=["a", "b"])
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--quiet", action="store_true")
    either.add_argument("--loud", action="store_true")
    with pytest.raises(ValueError) as caught:
        parser.parse_args(words)
    assert plain_sentence(str(caught.value)) == sentence


@pytest.mark.parametrize(
    ("words", "start"),
    [
        (["--prot", "1"], "“--prot 1” is not known. app.py --help lists what is known."),
        (["--port"], "--port needs a value. app.py --help"),
    ],
)
def test_app_says_what_is_wrong_in_a_sentence(words, start):
    with pytest.raises(SettingsError) as caught:
        build_parser().parse_args(words)
    assert str(caught.value).startswith(start)


@pytest.mark.parametrize(
    ("words", "start"),
    [
        (["resume", "cat", "--epochs", "x"], "--epochs needs a whole number, not “x”."),
        (["resume"], "NAME is missing."),
        (["stat"], "COMMAND must be one of sessions, start, "),
    ],
)
def test_commands_say_what_is_wrong_in_a_sentence(words, start):
    with pytest.raises(SettingsError) as caught:
        build_cli_parser().parse_args(words)
    assert str(caught.value).startswith(start)

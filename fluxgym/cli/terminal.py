"""Helpers of the commands: safe printing, confirmation, and reading files named by the user."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from fluxgym.contract.regular_files import UnsafeFile, read_regular
from fluxgym.errors import Detail, SettingsError
from fluxgym.runs.state import MAX_BYTES


def printable(text: str) -> str:
    """Return the text with control characters replaced, so that a file name cannot send control sequences to the terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)


def print_lines(*lines: str, if_empty: str = "") -> int:
    """Print each line, or `if_empty` when there are none; return exit code 0."""
    for line in lines or ((if_empty,) if if_empty else ()):
        print(printable(line))
    return 0


def detail_lines(details: Sequence[Detail]) -> list[str]:
    """Return the lines of the list that belongs to an error message."""
    return [printable(f"   - {detail.text} {detail.address}".rstrip()) for detail in details]


def print_way_back(ids: Sequence[str]) -> None:
    """Print to stderr the command that puts removed runs back; stdout has only what scripts read."""
    if ids:
        print(f"To put {'it' if len(ids) == 1 else 'them'} back: python -m fluxgym archive restore {' '.join(ids)}", file=sys.stderr)


def is_confirmed(what: str, *, yes: bool, answer: str, question: str) -> bool:
    """Return True if the user agrees: with --yes, or by typing the answer to the question.

    Raises:
        SettingsError: If there is no terminal; `what` describes the action in the message.
    """
    if yes:
        return True
    if not sys.stdin.isatty():
        raise SettingsError(f"{what} Add --yes to do it.")
    try:
        return input(f"{printable(what)} {question}: ").strip() == answer
    except (EOFError, KeyboardInterrupt):
        print()
        return False


def read_state_file(path: Path) -> dict[str, object]:
    """Return the settings in a JSON file.

    Raises:
        SettingsError: If the file cannot be read or does not hold a JSON object.
    """
    try:
        state = json.loads(read_regular(path, MAX_BYTES, follow_links=True))  # UTF-8 or UTF-16
    except UnsafeFile as error:
        raise SettingsError(f"{path} is not a file of settings: {error.reason}.") from None
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}.") from None
    except json.JSONDecodeError as error:
        raise SettingsError(f"{path} is not valid JSON: {error}.") from None
    except (ValueError, RecursionError):
        raise SettingsError(f"{path} is not valid JSON: it is not text, is nested too deep, or holds a number that is too long.") from None
    if not isinstance(state, dict):
        raise SettingsError(f"{path} must hold a JSON object with ui_state.json's keys.")
    return state


def image_folder(path: Path) -> Path:
    """Return a folder's absolute path.

    Raises:
        SettingsError: If the folder does not exist.
    """
    if not path.is_dir():
        raise SettingsError(f"The folder of images {path} does not exist.")
    return path.resolve()

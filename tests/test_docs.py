"""What the README says is so: its commands, flags, variables and places exist."""

import re
from pathlib import Path

import yaml

from fluxgym.cli import build_parser as terminal
from fluxgym.settings import build_parser as app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def flags_of(parser):
    found = set()
    for action in parser._actions:
        found |= set(action.option_strings)
        if isinstance(action.choices, dict):
            for child in action.choices.values():
                found |= flags_of(child)
    return found


def test_every_make_target_exists():
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"make (\w+)", README)) - {"and"} <= targets


def test_every_flag_exists():
    known = flags_of(app()) | flags_of(terminal())
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", README)) <= known


def test_every_command_exists():
    commands = set(re.findall(r"python -m fluxgym (\w+)", README))
    (choices,) = [action.choices for action in terminal()._actions if isinstance(action.choices, dict)]
    assert commands == set(choices)


def test_every_variable_is_read():
    code = "".join(path.read_text() for path in (ROOT / "fluxgym").rglob("*.py"))
    for name in set(re.findall(r"FLUXGYM_[A-Z_]+", README)):
        assert name in code or name.removeprefix("FLUXGYM_").lower() in code


def test_every_model_place_is_looked_at():
    entries = yaml.safe_load((ROOT / "fluxgym" / "models" / "models.yaml").read_text())
    places = {place for entry in entries.values() for options in entry["files"].values() for place in options}
    assert set(re.findall(r"^((?:unet|vae|clip)/\S+\.\w+)", README, re.MULTILINE)) <= places


def test_every_picture_is_there():
    for path in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README):
        assert (ROOT / path).is_file()

"""What the README says is so: its commands, flags, variables and places exist."""

import re
from pathlib import Path

import pytest
import yaml

from fluxgym.app_settings import build_parser as app
from fluxgym.cli.main import build_parser as terminal

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


def test_every_image_is_there():
    for path in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README):
        assert (ROOT / path).is_file()


GUIDE_ROWS = [line for line in (ROOT / "docs" / "guide.md").read_text().splitlines() if line.startswith("| ")][1:]
GUIDES_SECTIONS = (
    "Overview", "Automatic State Saving", "Automatic State Restoration", "State File Format", "Scenario 1: Page Refresh During Training",
    "Scenario 2: Cloud Disconnect", "Scenario 3: Multiple Training Runs", "Active Sessions Banner", "What It Shows", "Status Indicators",
    "Refresh Button", "State Files Location", "Basic Configuration", "Checkpoint Settings", "Monitoring Settings", "Advanced Settings", "Metadata",
    "View State File", "Check All State Files", "Backup State", "Delete Old States", "State Detection Logic", "Sessions Not Showing",
    "State Shows Wrong Status", "State File Corrupted", "Old Sessions Cluttering UI", "With Checkpointing", "With Monitoring", "With Resume",
    "1. Always Enable State Persistence", "2. Check Active Sessions After Disconnect", "3. Keep State Files", "4. Backup Important States",
    "5. Use with Cloud Training", "Python", "Bash", "State Files Are Local", "What's NOT Saved", "Safe to Share", "Future Enhancements",
    "Example 1: Cloud Training Recovery", "Example 2: Multiple Sessions", "Summary",
)  # fmt: skip


def test_the_guides_map_leaves_no_section_out_and_keeps_their_order():
    assert tuple(dict.fromkeys(row.split("|")[1].strip() for row in GUIDE_ROWS)) == GUIDES_SECTIONS


@pytest.mark.parametrize("row", GUIDE_ROWS, ids=lambda row: row.split("|")[2].strip()[:60])
def test_the_guides_map_names_tests_that_exist(row):
    proof = re.split(r"(?<!\\)\|", row)[3]
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", proof)
    assert named or proof.strip().startswith("not yet: ")
    for path, name in named:
        assert re.search(rf"^(def {name}\(|{name} = )", (ROOT / path).read_text(), re.MULTILINE), f"{path} has no {name}"

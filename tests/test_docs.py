"""Tests that README, docs/ and CONTRIBUTING.md match the code: commands, flags, variables, paths, packages and the proofs of the guide."""

import argparse
import json
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml

from fluxgym.app_settings import build_parser as build_app_parser
from fluxgym.cli.main import build_parser as build_terminal_parser
from fluxgym.contract.limits import MAX_RANK
from library.command import MAX_RATE, MAX_RATIO
from networks.lycoris_args import FULL_RANK, MAX_COUNT
from tests.faults.__main__ import build_parser as build_faults_parser

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = (ROOT / "docs" / "commands.md").read_text()
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
GUIDE = (ROOT / "docs" / "guide.md").read_text()
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
MAX_LINE = 160  # characters
PROOF_ROWS = [line for line in (ROOT / "tests" / "guide_proofs.md").read_text().splitlines() if line.startswith("| ")][1:]
GUIDE_SECTIONS = (
    "Overview", "Automatic State Saving", "Automatic State Restoration", "State File Format", "Scenario 1: Page Refresh During Training",
    "Scenario 2: Cloud Disconnect", "Scenario 3: Multiple Training Runs", "Active Sessions Banner", "What It Shows", "Status Indicators",
    "Refresh Button", "State Files Location", "Basic Configuration", "Checkpoint Settings", "Monitoring Settings", "Advanced Settings", "Metadata",
    "View State File", "Check All State Files", "Backup State", "Delete Old States", "State Detection Logic", "Sessions Not Showing",
    "State Shows Wrong Status", "State File Corrupted", "Old Sessions Cluttering UI", "With Checkpointing", "With Monitoring", "With Resume",
    "1. Always Enable State Persistence", "2. Check Active Sessions After Disconnect", "3. Keep State Files", "4. Backup Important States",
    "5. Use with Cloud Training", "Python", "Bash", "State Files Are Local", "What's NOT Saved", "Safe to Share", "Future Enhancements",
    "Example 1: Cloud Training Recovery", "Example 2: Multiple Sessions", "Summary",
)  # fmt: skip


def flags_of(parser: argparse.ArgumentParser) -> set[str]:
    """Return the option strings of a parser and of its subcommands."""
    found = set()
    for action in parser._actions:
        found |= set(action.option_strings)
        if isinstance(action.choices, dict):
            for child in action.choices.values():
                found |= flags_of(child)
    return found


def test_readme_has_at_most_150_lines():
    assert README.count("\n") <= 150


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_make_targets_in_documents_exist(document):
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^|\s)make ([a-z]+)(?= ARGS| TESTS|`|$|  |,)", document.read_text(), re.MULTILINE))
    assert named <= targets


def test_make_targets_are_all_documented():
    phony = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony is not None
    assert set(phony[1].split()) == set(re.findall(r"^make (\w+)", COMMANDS, re.MULTILINE))


def test_make_check_runs_every_test_of_repository_itself():
    quick = re.search(r"^QUICK \?= (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert quick is not None
    assert {f"tests/{path.name}" for path in (ROOT / "tests").glob("test_*.py")} <= set(quick[1].split())


def test_flags_in_readme_and_commands_exist():
    known = flags_of(build_app_parser()) | flags_of(build_terminal_parser()) | flags_of(build_faults_parser())
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*(?![\w-])", README + COMMANDS))
    assert "--with-images" in named
    assert named - known == set()


def test_commands_lists_every_terminal_command():
    commands = set(re.findall(r"python -m fluxgym (\w+)", COMMANDS)) - {"command"}
    (choices,) = [action.choices for action in build_terminal_parser()._actions if isinstance(action.choices, dict)]
    assert commands == set(choices)
    assert set(re.findall(r"python -m fluxgym (\w+)", README)) <= commands


def test_commands_lists_every_script_of_trainer():
    scripts = {path.name for path in (ROOT / "sd-scripts").glob("*.py")}
    scripts |= {path.name for path in (ROOT / "sd-scripts" / "networks").glob("*.py") if '__name__ == "__main__"' in path.read_text()}
    assert set(re.findall(r"^python sd-scripts/(?:networks/)?(\w+\.py)", COMMANDS, re.MULTILINE)) == scripts


def test_environment_variables_are_read_by_app():
    code = "".join(path.read_text() for path in (ROOT / "fluxgym").rglob("*.py"))
    names = set(re.findall(r"FLUXGYM_[A-Z_]+", README + COMMANDS))
    assert len(names) >= 8
    assert [name for name in names if name not in code and f'given("{name.removeprefix("FLUXGYM_").lower()}"' not in code] == []


def test_model_paths_in_readme_are_in_catalog():
    entries = yaml.safe_load((ROOT / "fluxgym" / "models" / "models.yaml").read_text())
    paths = {path for entry in entries.values() for options in entry["files"].values() for path in options}
    named = set(re.findall(r"^((?:unet|vae|clip)/\S+\.\w+)", README, re.MULTILINE))
    assert len(named) == 4
    assert named <= paths


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_images_of_documents_exist(document):
    links = re.findall(r"\[[^\]]*\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text())
    assert [link for link in links if "://" not in link and not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_code_paths_in_documents_exist(document):
    """Check every path in backticks that begins with a top-level folder of the sources."""
    if document.name == "CHANGELOG.md":
        pytest.skip("the changelog names files of earlier versions")
    named = re.findall(r"`((?:fluxgym|sd-scripts|tests|bench|tools|docs)/[\w./-]*)(?:::\w+)?`", document.read_text())
    assert [path for path in named if not (ROOT / path).exists()] == []


def long_lines(text: str) -> list[str]:
    """Return the lines of prose that are too long to read in an editor; not tables and code blocks."""
    prose = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return [line for line in prose.splitlines() if len(line) > MAX_LINE and not line.startswith("|")]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_lines_of_documents_are_short_enough_to_read(document):
    if document.name == "CHANGELOG.md":
        pytest.skip("one line per change")
    assert long_lines(document.read_text()) == []


def test_only_long_lines_of_prose_are_found():
    long = "word " * MAX_LINE
    assert long_lines(f"{long}\n```\n{long}\n```\n| {long} |\nshort\n") == [long]


def test_networks_names_limits_of_its_arguments():
    text = (ROOT / "docs/networks.md").read_text()
    limits = (
        str(MAX_RANK),
        f"{MAX_RATE:g}".replace("+", ""),
        "1e6" if MAX_RATIO == 1e6 else f"{MAX_RATIO:g}",
        str(FULL_RANK),
        str(MAX_COUNT),
    )
    assert [limit for limit in limits if not re.search(rf"\b{limit}\b", text)] == []


def test_guide_backup_command_leaves_nothing_that_git_shows():
    (name,) = set(re.findall(r"^tar -czf (\S+) ", (ROOT / "docs/guide.md").read_text(), re.MULTILINE))
    assert "/" not in name
    done = subprocess.run(["git", "check-ignore", name, "outputs/cat/ui_state.json"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.split() == [name, "outputs/cat/ui_state.json"]


def test_readme_and_license_name_same_license():
    assert (ROOT / "LICENSE").read_text().startswith("MIT License")
    assert re.search(r"^## License\n\nMIT;", README, re.MULTILINE)


def test_layout_names_every_top_level_folder():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    folders = {path.split("/")[0] + "/" for path in tracked if "/" in path} - {".ci/"}
    layout = README[README.index("## Layout") :]
    assert set(re.findall(r"^([\w-]+/) ", layout, re.MULTILINE)) == folders


@pytest.mark.parametrize("root", ["fluxgym", "sd-scripts"])
def test_architecture_names_every_package(root):
    packages = {path.parent.relative_to(ROOT / root) for path in (ROOT / root).rglob("__init__.py")} - {Path()}
    assert len(packages) > 8
    missing = [
        str(package) for package in sorted(packages) if f"`{root}/{package}/`" not in ARCHITECTURE and f"`{package}/`" not in ARCHITECTURE
    ]
    assert missing == []


def test_guide_has_every_section_in_order():
    headings = re.findall(r"^#{2,3} (.+)$", GUIDE, re.MULTILINE)
    assert tuple(heading for heading in headings if heading in GUIDE_SECTIONS) == GUIDE_SECTIONS


def test_proofs_cover_every_section_of_guide_in_order():
    headings = re.findall(r"^#{2,3} (.+)$", GUIDE, re.MULTILINE)
    proved = tuple(dict.fromkeys(row.split("|")[1].strip() for row in PROOF_ROWS))
    own = re.findall(r"^### (.+)$", GUIDE[GUIDE.index("## The page in short") : GUIDE.index("## State Files Location")], re.MULTILINE)
    assert set(proved) == {*GUIDE_SECTIONS, *own}
    assert proved == tuple(heading for heading in headings if heading in proved)


@pytest.mark.parametrize("row", PROOF_ROWS, ids=lambda row: row.split("|")[2].strip()[:60])
def test_proofs_name_tests_that_exist(row):
    proof = re.split(r"(?<!\\)\|", row)[3]
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", proof)
    assert named or proof.strip().startswith("not yet: ")
    for path, name in named:
        assert re.search(rf"^(def {name}\(|{name} = )", (ROOT / path).read_text(), re.MULTILINE), f"{path} has no {name}"


# Run in a copy of fluxgym/ that has the example's setting: what the form shows of it, the command line with it, and the page of the documentation.
REPORT_ON_SETTING = """
import json
from fluxgym.config.setting_spec import Group
from fluxgym.config.settings import TrainConfig
from fluxgym.config.settings_docs import document
from fluxgym.trainers.options import setting_options
from fluxgym.ui.form import NAMES, component, describe_settings, rows_of

field = component(next(row for row in rows_of(Group.ADVANCED) if row.name == "network_dropout")).get_config()
report = {
    "names": NAMES, "field": {name: field[name] for name in ("label", "elem_id", "value")}, "section": describe_settings()["network_dropout"].section,
    "options": [setting_options(TrainConfig(lora_name="x", network_dropout=rate)).get("--network_dropout") for rate in (0.0, 0.5)],
    "stored": TrainConfig.from_state({"lora_name": "x", "network_dropout": "0.5"}).to_state()["network_dropout"], "document": document(),
}
print(json.dumps(report))
"""


@pytest.fixture(name="with_example", scope="module")
def fixture_with_example(tmp_path_factory):
    """Return what a copy of the app reports that has the setting of "Add a setting" in CONTRIBUTING.md."""
    section = re.search(r"^## Add a setting$(.*?)^## ", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE | re.DOTALL)
    assert section is not None
    row, field = (textwrap.dedent(block) for block in re.findall(r"^ *```python\n(.*?)^ *```$", section[1], re.MULTILINE | re.DOTALL))
    copy = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "fluxgym", copy / "fluxgym", ignore=shutil.ignore_patterns("__pycache__", "vendor"))
    path = copy / "fluxgym" / "config" / "settings.py"
    source = path.read_text()
    for before, added in (("    Setting(\n        name=OTHER_FLAGS,", row), ("    advanced: Mapping[str, Any] = field(", field)):
        assert source.count(before) == 1
        source = source.replace(before, textwrap.indent(added, "    ") + before)
    path.write_text(source)
    done = subprocess.run([sys.executable, "-c", REPORT_ON_SETTING], cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_example_of_add_setting_is_field_in_group_of_advanced(with_example):
    assert "network_dropout" in with_example["names"]
    assert with_example["field"] == {"label": "LoRA dropout", "elem_id": "field-network_dropout", "value": "0"}
    assert with_example["section"] == "Network"


def test_example_of_add_setting_is_stored_and_reaches_command_line(with_example):
    assert with_example["stored"] == 0.5
    assert with_example["options"] == [None, ["0.5"]]


def test_example_of_add_setting_is_in_documentation_of_settings(with_example):
    assert "| LoRA dropout | `network_dropout` | `--network_dropout` | a number from 0 to 1 | `0.0` |" in with_example["document"]

"""The files of other projects are the released ones: each has the checksum that vendor/README.md names."""

import hashlib
import re

from fluxgym.ui.api.assets import VENDOR

ROW = re.compile(r"^\| `(?P<file>[^`]+)` \| `[^`]+` \| `(?P<sha256>[0-9a-f]{64})` \|$", re.MULTILINE)


def test_vendored_files_are_unchanged_and_all_listed():
    listed = dict(ROW.findall((VENDOR / "README.md").read_text()))
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in VENDOR.iterdir() if path.name != "README.md"}
    assert found == listed


def test_vendored_project_has_version_and_license():
    table = (VENDOR / "README.md").read_text()
    assert re.search(r"\| \[uPlot\]\([^)]+\) \| \d+\.\d+\.\d+ \| MIT", table)
    assert (VENDOR / "uPlot.LICENSE").read_text().startswith("The MIT License")

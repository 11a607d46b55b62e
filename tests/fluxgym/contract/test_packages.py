"""The packages with classes that need no consent are those that FluxGym installs or offers."""

import re

from fluxgym.contract.packages import CLASS_PACKAGES
from tests.support.source_tree import ROOT


def test_packages_with_classes_are_in_requirements():
    files = [path.read_text() for path in ROOT.glob("requirements*.txt")]
    required = {name.lower().replace("-", "_") for text in files for name in re.findall(r"^([\w-]+)==", text, re.MULTILINE)}
    assert {"torch", "schedulefree"} <= CLASS_PACKAGES <= required

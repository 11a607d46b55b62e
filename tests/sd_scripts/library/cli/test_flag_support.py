"""Each of kohya's flags has one support class, and the trainer reads each honored flag."""

import json
import re
from pathlib import Path

import pytest

from library.cli.flag_checks import ONLY
from library.cli.flag_support import HONORED, IGNORED, REFUSED
from library.cli.flags import ADDITIONS, TABLE, build_parser
from library.cli.parse import MODELSPEC
from library.data.dataset_toml import read_datasets
from library.data.schema import DATASET_FIELDS, SUBSET_FIELDS
from library.training import metadata

ROOT = Path(read_datasets.__code__.co_filename).parents[2]
SOURCES = [path.read_text() for path in ROOT.rglob("*.py")]
IN_ANY_CASE = ("sdpa", "persistent_data_loader_workers", "highvram", "lowram", "skip_cache_check")  # NOTES says why


def test_support_tables_cover_exactly_kohya_flags():
    names = [row["flag"][2:] for row in json.loads(TABLE.read_text())]
    assert sorted([*HONORED, *IGNORED, *REFUSED]) == sorted(names)
    assert not {row["flag"][2:] for row in ADDITIONS} & set(names)


@pytest.mark.parametrize("name", sorted(HONORED) + [row["flag"][2:] for row in ADDITIONS])
def test_honored_flag_is_read(name):
    if name in IN_ANY_CASE or name in ONLY or name in metadata.FROM_FLAGS or name in SUBSET_FIELDS or name in DATASET_FIELDS:
        return
    if name.removeprefix("metadata_") in MODELSPEC and name.startswith("metadata_"):
        return
    as_attribute, settled = re.compile(rf"\w\.{name}\b"), f'given["{name}"]'
    assert any(as_attribute.search(text) or settled in text for text in SOURCES), f"nothing reads --{name}"


@pytest.mark.parametrize("name", [name for name, reason in IGNORED.items() if "it only concerns --" in reason])
def test_ignored_dependent_flag_belongs_to_refused_flag(name):
    other = re.search(r"it only concerns --(\w+)", IGNORED[name])[1]
    assert other in REFUSED, f"--{name} is ignored, though --{other} is not refused"


def test_flags_document_is_current():
    from library.cli.flag_docs import table

    assert Path("docs/trainer-flags.md").read_text() == table(), "run: python sd-scripts/library/cli/flag_docs.py > docs/trainer-flags.md"
    assert all(f"`--{name}`" in table() for name in vars(build_parser().parse_args([])))

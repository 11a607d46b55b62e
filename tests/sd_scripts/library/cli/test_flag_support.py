"""Each of kohya's flags has one answer, and an honored flag is one that the trainer really reads."""

import json
import re
from pathlib import Path

import pytest

from library.cli.flag_support import HONORED, IGNORED, REFUSED
from library.cli.flags import ADDITIONS
from library.cli.parse import ONLY, TABLE, build_parser
from library.data.dataset_toml import read_datasets
from library.training import metadata

SOURCES = [
    path for path in Path(read_datasets.__code__.co_filename).parents[2].rglob("*.py") if path.name not in ("support.py", "additions.py")
]
IN_ANY_CASE = ("sdpa", "persistent_data_loader_workers")  # attention is PyTorch's, and the workers are threads that stay


def test_the_three_answers_are_kohyas_flags_and_no_other():
    names = [row["flag"][2:] for row in json.loads(TABLE.read_text())]
    assert sorted([*HONORED, *IGNORED, *REFUSED]) == sorted(names)
    assert not {row["flag"][2:] for row in ADDITIONS} & set(names)


@pytest.mark.parametrize("name", sorted(HONORED) + [row["flag"][2:] for row in ADDITIONS])
def test_an_honored_flag_is_read(name):
    if name in IN_ANY_CASE or name in ONLY or name in metadata.FROM_FLAGS:
        return
    as_attribute, by_name = re.compile(rf"\bargs\.{name}\b"), re.compile(rf"\b{name}\b")
    by_dataset = by_name.search(Path(read_datasets.__code__.co_filename).read_text())
    assert by_dataset or any(as_attribute.search(path.read_text()) for path in SOURCES), f"nothing reads --{name}"


@pytest.mark.parametrize("name", [name for name, reason in IGNORED.items() if "it only concerns --" in reason])
def test_what_only_concerns_another_flag_concerns_one_that_is_refused(name):
    other = re.search(r"it only concerns --(\w+)", IGNORED[name])[1]
    assert other in REFUSED, f"--{name} is ignored, though --{other} is not refused"


def test_what_is_written_on_the_flags_is_what_the_parser_says():
    from library.cli.flag_docs import table

    assert Path("docs/trainer-flags.md").read_text() == table(), "run: python sd-scripts/library/cli/flag_docs.py > docs/trainer-flags.md"
    assert all(f"`--{name}`" in table() for name in vars(build_parser().parse_args([])))

"""One line about the machine, for any outputs folder."""

import re

from fluxgym.engines.machine import describe


def test_line_names_processor_memory_and_disk(tmp_path):
    processor, memory, disk = describe(tmp_path / "not" / "there" / "yet")
    assert processor
    assert re.fullmatch(r"RAM \d+ / \d+ GiB", memory)
    assert re.fullmatch(r"\d+ GB free", disk)

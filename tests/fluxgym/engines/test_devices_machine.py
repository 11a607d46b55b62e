"""One line about the machine, wherever the runs are kept."""

from fluxgym.engines.devices import describe


def test_the_line_names_processor_memory_and_disk(tmp_path):
    parts = describe(tmp_path / "not" / "there" / "yet").split(" · ")
    assert parts[0].startswith(("GPU ", "CPU, "))
    assert parts[1].startswith("RAM ")
    assert parts[2].endswith("GB free")

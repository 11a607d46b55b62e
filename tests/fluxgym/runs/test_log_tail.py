"""The last lines of a log: bars count once, large files are not read whole."""

from fluxgym.runs.log_tail import tail


def test_a_bars_states_count_as_one_line(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"hello\nsteps: 0%\rsteps: 50%\rsteps: 100%\ndone\n")
    assert tail(path) == ["hello", "steps: 100%", "done"]


def test_only_the_end_of_a_large_file(tmp_path):
    path = tmp_path / "log"
    path.write_text("".join(f"line {number}\n" for number in range(100_000)))
    assert tail(path, 2, max_bytes=1000) == ["line 99998", "line 99999"]


def test_broken_text_and_no_file(tmp_path):
    (tmp_path / "log").write_bytes(b"\xff\xfe\n")
    assert tail(tmp_path / "log") == ["��"]
    assert tail(tmp_path / "none") == []

"""The last lines of a log: bars count once, large files are not read whole."""

from fluxgym.runs.log_tail import tail


def test_progress_bar_updates_count_as_one_line(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"hello\nsteps: 0%\rsteps: 50%\rsteps: 100%\ndone\n")
    assert tail(path) == ["hello", "steps: 100%", "done"]


def test_tail_reads_only_end_of_large_file(tmp_path):
    path = tmp_path / "log"
    path.write_text("".join(f"line {number}\n" for number in range(100_000)))
    assert tail(path, 2, max_bytes=1000) == ["line 99998", "line 99999"]


def test_tail_of_invalid_text_and_missing_file_does_not_raise(tmp_path):
    (tmp_path / "log").write_bytes(b"\xff\xfe\n")
    assert tail(tmp_path / "log") == ["��"]
    assert tail(tmp_path / "none") == []

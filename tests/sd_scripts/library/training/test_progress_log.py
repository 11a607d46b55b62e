"""progress.jsonl: complete lines, in order, the reason of a failure last."""

import json

from library.training.progress_log import ProgressLog


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_lines_contain_applicable_values_only(tmp_path, monkeypatch):
    monkeypatch.setenv("FLUXGYM_ATTEMPT", "3")
    progress = ProgressLog(str(tmp_path / "new"), total_steps=9)
    progress.enter("training", epoch=1, loss=0.5, lr=None)
    line = lines(tmp_path / "new" / "progress.jsonl")[0]
    assert (line["attempt"], line["phase"], line["step"], line["total_steps"], line["epoch"], line["loss"]) == (3, "training", 0, 9, 1, 0.5)
    assert "lr" not in line
    assert line["rss_mb"] > 0


def test_sub_step_lines_are_throttled_except_last(tmp_path):
    progress = ProgressLog(str(tmp_path))
    for done in range(1, 1001):
        progress.enter_part("caching", done, 1000)
    written = lines(tmp_path / "progress.jsonl")
    assert len(written) < 100
    assert (written[0]["item"], written[-1]["item"]) == (1, 1000)


def test_failure_reason_is_last_line(tmp_path):
    progress = ProgressLog(str(tmp_path))
    progress.fail("nan", "the loss became nan")
    assert lines(tmp_path / "progress.jsonl")[-1]["reason_code"] == "nan"


def test_without_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ProgressLog(None).enter("training")
    assert not list(tmp_path.iterdir())

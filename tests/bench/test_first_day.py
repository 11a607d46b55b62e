"""bench/first_day.py: no failure and no long stage hides the next, and every result reaches the JSON lines and the table."""

import json

import pytest

from bench import first_day
from bench.first_day import RECORDS, TABLE, run, table
from bench.first_day_stages.common import SHAPES, make_training, run_step


@pytest.mark.slow
def test_run_with_stage_that_fails_and_one_that_takes_too_long_records_both_and_continues(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(first_day, "STAGES", {"no such stage": 60, "facts": 60, "micro": 0.2})
    found = run(["no such stage", "micro", "facts"], tmp_path)
    errors = {record["stage"]: record["error"] for record in found if "error" in record}
    assert "ended with 1: KeyError: 'no such stage'" in errors["no such stage"]
    assert "took longer than 0.2 s" in errors["micro"]
    assert any(record["stage"] == "facts" and "torch" in record["found"] for record in found)
    lines = (tmp_path / RECORDS).read_text().splitlines()
    assert [json.loads(line) for line in lines] == found
    assert capsys.readouterr().out.splitlines() == lines
    assert "| facts | versions | torch " in (tmp_path / TABLE).read_text()


def test_table_of_records_shows_results_errors_and_predictions():
    records = [
        {"stage": "steps", "what": "fp8", "found": {"s": 0.12345, "live_gib": None}, "predicted": {"live_gib": 12.42}},
        {"stage": "tiers", "what": "8G | 8 GB", "error": "OutOfMemoryError: no\nmore"},
    ]
    assert table(records).splitlines()[2:] == [
        "| steps | fp8 | s 0.123 | live_gib 12.4 |",
        "| tiers | 8G \\| 8 GB | failed: OutOfMemoryError: no more |  |",
    ]


def test_make_training_from_tiers_flags_runs_step():
    flux, network = make_training(["--fp8_base", "--network_args", "train_blocks=single"], rank=2)
    run_step(flux, network)
    assert len(network.loras) == 3 * SHAPES.depth_single_blocks

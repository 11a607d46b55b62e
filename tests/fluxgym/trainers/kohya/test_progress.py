"""progress.jsonl follows training.log: only new output is read; truncated, invalid or huge output is handled."""

import json
import time

import pytest

from fluxgym.trainers.kohya.progress import MAX_BYTES, KohyaProgress
from fluxgym.trainers.kohya.states import read_position
from tests.support.kohya_output import FIRST_LINES, progress_bar
from tests.support.runs import make_run


@pytest.fixture(name="run")
def fixture_run(tmp_path):
    run = make_run(tmp_path)
    run.training_log.write_bytes(b"\n".join(FIRST_LINES) + b"\nepoch 1/4\n")
    return run


def say(run, *parts):
    with run.training_log.open("ab") as file:
        file.write(b"".join(parts))


def lines_of(run):
    return [json.loads(line) for line in run.progress.read_text().splitlines()] if run.progress.exists() else []


def test_incomplete_line_is_parsed_later(run):
    progress = KohyaProgress(run, 1)
    whole = b"\r" + progress_bar(7, avr_loss=0.5)
    say(run, whole[:-30])
    progress.poll()
    assert lines_of(run)[-1]["step"] == 0
    say(run, whole[-30:])
    progress.close()
    assert lines_of(run)[-1] | {"step": 7, "loss": 0.5, "attempt": 1} == lines_of(run)[-1]


def test_truncated_number_is_not_parsed(run):
    progress = KohyaProgress(run, 1)
    (run.folder / "cat-000012-state").mkdir()
    (run.folder / "cat-000012-state" / "train_state.json").write_text("{}")
    say(run, b"INFO saving state at epoch 1")
    progress.poll()
    say(run, b"2\n", b"\nepoch 13/20\n")
    progress.close()
    assert read_position(run.folder / "cat-000012-state").epoch == 12


def test_state_gets_its_position_once_kohya_has_written_it(run):
    progress, folder = KohyaProgress(run, 1), run.folder / "cat-000001-state"
    folder.mkdir()
    (folder / "train_state.json").write_text("{}")
    say(run, b"\r", progress_bar(10, avr_loss=1), b"\nINFO saving state at epoch 1\n")
    progress.poll()
    assert read_position(folder) is None
    progress.close()  # the trainer was killed right behind it
    assert (read_position(folder).step, read_position(folder).total_steps) == (10, 40)


def test_poll_without_new_output_writes_nothing(run):
    progress = KohyaProgress(run, 1)
    for _ in range(3):
        progress.close()
    assert len(lines_of(run)) == 1


def test_phases_between_two_polls_are_written(run):
    progress = KohyaProgress(run, 1)
    progress.poll()
    say(run, b"\r", progress_bar(9, avr_loss=1), b"\nsaving checkpoint: x\nINFO generating sample images at\n")
    progress.poll()
    assert [line["phase"] for line in lines_of(run)] == ["training", "training", "saving", "sampling"]


def test_progress_within_phase_is_written_twice_per_second(run):
    progress = KohyaProgress(run, 1)
    end = time.monotonic() + 1.2
    step = 0
    while time.monotonic() < end:
        step += 1
        say(run, b"\r", progress_bar(min(40, step), total=40, avr_loss=1 / step))
        progress.poll()
    assert 2 <= len(lines_of(run)) <= 4


def test_undecodable_output_is_replaced(run):
    say(run, b"\xff\xfe\x00\n\r\n", b"\r\xe5" + progress_bar(3), b"\r", progress_bar(4, avr_loss=1))
    KohyaProgress(run, 1).close()
    assert lines_of(run)[-1]["step"] == 4


def test_only_end_of_large_output_is_read(run):
    progress = KohyaProgress(run, 1)
    progress.poll()
    with run.training_log.open("r+b") as file:
        file.seek(20 << 30)  # a hole of twenty gigabytes
        file.write(b"\r" + progress_bar(11, avr_loss=1))
    began = time.perf_counter()
    progress.close()
    assert lines_of(run)[-1]["step"] == 11
    assert time.perf_counter() - began < 5
    assert run.training_log.stat().st_size > MAX_BYTES


def test_truncated_log_is_read_from_start(run):
    progress = KohyaProgress(run, 1)
    progress.poll()
    run.training_log.write_bytes(b"\r" + progress_bar(6, avr_loss=1))
    progress.close()
    assert lines_of(run)[-1]["step"] == 6


def test_takeover_repeats_no_progress_line(run):
    say(run, b"\r", progress_bar(5, avr_loss=1), b"\nsaving checkpoint: x\n", b"\r", progress_bar(6, avr_loss=1))
    KohyaProgress(run, 1).close()
    assert [line["step"] for line in lines_of(run)] == [6]


def test_attempt_whose_start_was_not_seen_is_not_reported(run):
    run.training_log.write_bytes(b"epoch 3/4\n\r" + progress_bar(5, avr_loss=1))
    KohyaProgress(run, 1).close()
    assert not run.progress.exists()


def test_progress_file_that_cannot_be_written_is_only_logged(run, caplog):
    run.progress.mkdir()
    KohyaProgress(run, 1).close()
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["progress could not be written"]

"""The sample images of a run are ordered by prompt and step, and the next ones are listed only if the settings have an interval."""

import pytest
from PIL import Image

from fluxgym.sessions.run_metrics import NO_RECORD, TrainingRecord
from fluxgym.ui.api.run_samples import latest_samples, sample_matrix
from tests.support.runs import make_run

RECORD = TrainingRecord(validation={}, epoch_ends={1: 10, 2: 20, 4: 40}, spans={})


@pytest.fixture(name="run")
def fixture_run(tmp_path):
    run = make_run(tmp_path, "cat")
    run.samples.mkdir()
    run.sample_prompts.write_text("# kept\nsks cat --w 64 --d 1\na dog\n")
    return run


def draw(run, *names):
    for name in names:
        Image.new("RGB", (8, 8)).save(run.samples / name)


def matrix(run, state=None, *, record=RECORD, progress=None, is_live=False):
    return sample_matrix(run, state or {}, record, progress=progress or {}, is_live=is_live)


def test_columns_are_steps_and_rows_are_prompts(run):
    draw(run, "cat_000000_00_20250101000000_1.png", "cat_000020_00_20250101000001_1.png", "cat_000020_01_20250101000001.png", "notes.png")
    found = matrix(run)
    assert found.prompts == ["sks cat", "a dog"]
    assert [(column.label, column.step, column.epoch) for column in found.columns] == [("Before", 0, None), ("Step 20", 20, 2)]
    assert found.columns[0].images == ["runs/cat/samples/cat_000000_00_20250101000000_1.png", None]
    assert found.columns[1].images == [
        "runs/cat/samples/cat_000020_00_20250101000001_1.png", "runs/cat/samples/cat_000020_01_20250101000001.png",
    ]  # fmt: skip


def test_samples_by_epoch_have_their_step_where_it_is_known(run):
    draw(run, "cat_e000004_00_20250101000002_1.png", "cat_e000001_00_20250101000001_1.png")
    assert [(column.label, column.step, column.epoch) for column in matrix(run).columns] == [("Epoch 1", 10, 1), ("Epoch 4", 40, 4)]
    assert [column.step for column in matrix(run, record=NO_RECORD).columns] == [None, None]


def test_image_that_was_drawn_again_replaces_earlier_one(run):
    draw(run, "cat_000010_00_20250101000000_1.png", "cat_000010_00_20250102000000_1.png")
    assert matrix(run).columns[0].images == ["runs/cat/samples/cat_000010_00_20250102000000_1.png"]


def test_prompt_that_was_removed_has_number(run):
    run.sample_prompts.unlink()
    draw(run, "cat_000010_02_20250101000000_1.png")
    assert matrix(run).prompts == ["Prompt 3"]


STEPS = {"sample_every_n_steps": 40}
EPOCHS = {"sample_every_n_steps": 40, "max_train_epochs": 8, "advanced": {"sample_every_n_epochs": 3}}


@pytest.mark.parametrize(
    ("state", "progress", "expected"),
    [
        (STEPS, {"step": 0, "total_steps": 100}, ("Step 40", 40)),
        (STEPS, {"step": 40, "total_steps": 100}, ("Step 80", 80)),
        (STEPS, {"step": 81, "total_steps": 100}, None),
        (STEPS, {"step": 3}, None),
        (STEPS, {}, None),
        ({"sample_every_n_steps": "40"}, {"step": 1, "total_steps": 100}, ("Step 40", 40)),
        ({"sample_every_n_steps": 0}, {"step": 1, "total_steps": 100}, None),
        ({"sample_every_n_steps": "often"}, {"step": 1, "total_steps": 100}, None),
        (EPOCHS, {"step": 1, "total_steps": 100, "epoch": 1}, ("Epoch 3", None)),
        (EPOCHS, {"step": 1, "total_steps": 100, "epoch": 4}, ("Epoch 6", None)),
        (EPOCHS, {"step": 1, "total_steps": 100, "epoch": 7}, None),
    ],
)
def test_next_samples_of_live_run_follow_from_its_settings(run, state, progress, expected):
    found = matrix(run, state, progress=progress, is_live=True).upcoming
    assert (found and (found.label, found.step)) == expected
    assert matrix(run, state, progress=progress, is_live=False).upcoming is None


@pytest.mark.parametrize(
    ("state", "is_live", "words"),
    [
        ({}, True, "is 0"), (STEPS, False, "drew no sample images"), (STEPS, True, "Every 40 steps"), (EPOCHS, True, "Every 3 epochs"),
    ],
)  # fmt: skip
def test_empty_sample_matrix_shows_when_samples_appear(run, state, is_live, words):
    assert words in matrix(run, state, is_live=is_live).empty


def test_empty_sample_matrix_shows_step_of_first_samples(run):
    assert matrix(run, STEPS, progress={"step": 3, "total_steps": 90}, is_live=True).empty == "The first sample images appear at step 40."


def test_latest_images_of_two_runs_are_side_by_side_by_prompt(run, tmp_path):
    other, without = make_run(tmp_path, "dog"), make_run(tmp_path, "owl")
    other.samples.mkdir()
    other.sample_prompts.write_text("a dog\na hat\n")
    draw(run, "cat_000000_00_20250101000000_1.png", "cat_000020_00_20250101000001_1.png", "cat_000020_01_20250101000001.png")
    draw(other, "dog_e000004_00_20250101000002_1.png", "dog_e000004_01_20250101000002_1.png")
    found = latest_samples([(run, "Cat", RECORD), (other, "Dog", RECORD), (without, "Owl", RECORD)])
    assert found.prompts == ["sks cat", "a dog", "a hat"]
    assert [(column.key, column.label, column.step, column.epoch) for column in found.columns] == [
        ("cat", "Cat", 20, 2),
        ("dog", "Dog", 40, 4),
    ]
    first, second = (column.images for column in found.columns)
    assert first == [f"runs/cat/samples/cat_000020_{number}_20250101000001{end}.png" for number, end in (("00", "_1"), ("01", ""))] + [None]
    assert second == [None] + [f"runs/dog/samples/dog_e000004_{number}_20250101000002_1.png" for number in ("00", "01")]


def test_prompts_of_one_text_are_compared_one_by_one_and_only_with_equal_flags(run, tmp_path):
    run.sample_prompts.write_text("sks cat --d 1\nsks cat --d 2\nsks cat --d 2\n")
    other = make_run(tmp_path, "dog")
    other.samples.mkdir()
    other.sample_prompts.write_text("sks cat --d 2\nsks cat --d 3\n")
    draw(run, *(f"cat_000020_0{number}_20250101000001_1.png" for number in range(3)))
    draw(other, *(f"dog_000040_0{number}_20250101000001_1.png" for number in range(2)))
    found = latest_samples([(run, "Cat", RECORD), (other, "Dog", RECORD)])
    assert found.prompts == ["sks cat"] * 4
    drawn = [[image and image[-len("00_20250101000001_1.png") :][:2] for image in column.images] for column in found.columns]
    assert drawn == [["00", "01", "02", None], [None, "00", None, "01"]]


def test_step_whose_images_are_being_drawn_is_not_compared_yet(run):
    draw(run, *(f"cat_000020_0{number}_20250101000001_1.png" for number in range(2)), "cat_000040_00_20250101000002_1.png")
    (column,) = latest_samples([(run, "Cat", RECORD)]).columns
    assert (column.step, None in column.images) == (20, False)

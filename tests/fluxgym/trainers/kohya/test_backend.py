"""A kohya checkout as a backend: recognized by its files, its options read from its sources, resumed in the right epoch."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from fluxgym.config.settings import SETTINGS
from fluxgym.errors import Level
from fluxgym.runs.launch_spec import LaunchSpec, parse_words
from fluxgym.runs.paths import RunPaths
from fluxgym.trainers.kohya.backend import KohyaBackend, python_of
from fluxgym.trainers.trainer_verdicts import TrainerQuestion, TrainerVerdicts
from tests.support.fake_kohya import write_checkout

OURS = Path(__file__).parents[4] / "sd-scripts"
KOHYA = KohyaBackend()


@pytest.fixture(name="checkout")
def fixture_checkout(tmp_path):
    return write_checkout(tmp_path / "kohya")


def test_checkout_matches_and_our_trainer_does_not(checkout, tmp_path):
    assert (OURS / "flux_train_network.py").is_file()
    assert KOHYA.matches(checkout)
    assert not KOHYA.matches(OURS)
    assert not KOHYA.matches(tmp_path / "nowhere")


def test_its_options_are_read_from_its_sources(checkout):
    (checkout / "flux_train_network.py").write_text(
        "parser.add_argument(\n    '--another_one', type=int)\n# \"--resume=x\" is not an option"
    )
    assert KOHYA.check_flags({"--another_one": ("1",)}, checkout) == ()
    (problem,) = KOHYA.check_flags({"--resume": None, "--ours_alone": None, "--ours_too": None}, checkout)
    assert "does not know --ours_alone, --ours_too." in problem.message
    assert problem.field == "advanced"


@pytest.mark.parametrize(
    ("options", "field", "message"),
    [
        ({"--lr_scheduler_num_cycles": ("1.5",)}, "advanced", "lr_scheduler_num_cycles: the trainer in {dir} does not accept “1.5”."),
        (
            {"--timestep_sampling": ("logit",)},
            "timestep_sampling",
            "{label}: the trainer in {dir} does not accept “logit”. Choose sigma or ",
        ),
    ],
)
def test_value_that_its_parser_refuses_is_error_of_its_field(checkout, options, field, message):
    (problem,) = KOHYA.check_flags({"--seed": ("1",), **options}, checkout)
    label = SETTINGS[field].label if field in SETTINGS else ""
    assert (problem.level, problem.field) == (Level.ERROR, field)
    assert problem.message.startswith(message.format(dir=checkout, label=label))


@pytest.mark.parametrize(("blocks", "is_refused"), [("0-1", False), ("all", False), ("2", True), ("x", True)])
def test_blocks_that_model_does_not_have_are_refused(checkout, blocks, is_refused):
    model = OURS.parent / "models" / "pocket" / "flux.safetensors"  # two double blocks
    options = {
        "--pretrained_model_name_or_path": (str(model),),
        "--network_args": (f"train_double_block_indices={blocks}", "train_blocks=double"),
    }
    question = TrainerQuestion(options=options, chosen=(), toml="", steps_per_epoch=None, trainer_dir=checkout)
    problems = KOHYA.check_with_trainer(question, TrainerVerdicts(), may_run_trainer=False)
    assert [problem.field for problem in problems] == ["advanced"] * is_refused


def test_images_that_kohya_does_not_list_are_reported():
    names = ["a.png", "b.PNG", "c.Png", "d.gif", "e.tif", "f.HEIC", "g.avif", "h.jxl", "i.bmp"]
    assert KOHYA.skipped_images(names) == ["c.Png", "d.gif", "e.tif", "f.HEIC"]


def test_missing_script_is_problem(checkout):
    (checkout / "flux_train_network.py").unlink()
    (problem,) = KOHYA.check_flags({}, checkout)
    assert "flux_train_network.py is missing" in problem.message


def test_checkout_runs_in_its_own_environment_if_it_has_one(checkout):
    assert python_of(checkout) == sys.executable
    (checkout / "venv" / "bin").mkdir(parents=True)
    (checkout / "venv" / "bin" / "python").touch()
    assert python_of(checkout) == str(checkout / "venv" / "bin" / "python")
    spec = LaunchSpec(run_id="x", attempt=1, backend="kohya", trainer_dir=str(checkout), options={"--seed": ("1",)})
    assert KOHYA.command(spec, RunPaths(Path("/runs/cat"))) == [
        str(checkout / "venv" / "bin" / "python"), "-u", str(checkout / "flux_train_network.py"), "--seed", "1",
    ]  # fmt: skip


def test_resume_command_contains_epoch_of_checkpoint(folder, checkout):
    run = RunPaths(folder.parent)
    first = LaunchSpec(run_id="x", attempt=1, backend="kohya", trainer_dir=str(checkout), options={"--seed": ("1",)})
    assert parse_words(KOHYA.command(first, run)[3:]) == {"--seed": ("1",)}
    second = first.next_attempt(folder)  # a state within the second epoch
    assert parse_words(KOHYA.command(second, run)[3:]) == {"--seed": ("1",), "--resume": (str(folder),), "--initial_epoch": ("2",)}
    later = shutil.copytree(folder, folder.with_name("cat-000006-state"))
    (later / "train_state.json").write_text(json.dumps({"current_epoch": 6, "current_step": 20}))
    third = second.next_attempt(later)
    assert parse_words(KOHYA.command(third, run)[3:]) == {"--seed": ("1",), "--resume": (str(later),), "--initial_epoch": ("7",)}


def test_checkout_without_initial_epoch_gets_only_resume(folder, checkout):
    source = checkout / "library" / "train_util.py"
    source.write_text(source.read_text().replace('"--initial_epoch"', '"--other"'))
    spec = LaunchSpec(run_id="x", attempt=1, backend="kohya", trainer_dir=str(checkout), resume_from=str(folder))
    assert KOHYA.command(spec, RunPaths(folder.parent))[3:] == ["--resume", str(folder)]

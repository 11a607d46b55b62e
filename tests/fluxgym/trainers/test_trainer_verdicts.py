"""Settings that the trainer refuses are reported before Start at their field, by the trainer's checks."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from fluxgym.config.settings import TrainConfig
from fluxgym.errors import ConfigError, Level
from fluxgym.models.catalog import list_models
from fluxgym.trainers import trainer_verdicts
from fluxgym.trainers.trainer_verdicts import TrainerQuestion, TrainerVerdicts, unusual_settings
from tests.support.photos import write_cats
from tests.support.source_tree import ROOT

TRAINER = ROOT / "sd-scripts"
MODELS = {f"--{name}": ("x",) for name in ("pretrained_model_name_or_path", "ae", "clip_l", "t5xxl")}


def question(options, trainer, toml="", steps_per_epoch=None):
    """Return a question to the trainer in a folder."""
    chosen = tuple(option.removeprefix("--") for option in options)
    return TrainerQuestion(options=options, chosen=chosen, toml=toml, steps_per_epoch=steps_per_epoch, trainer_dir=trainer)


def asked(options, toml, trainer, steps_per_epoch=None):
    """Return what the trainer says about settings that it was never asked about."""
    return TrainerVerdicts().problems(question(options, trainer, toml, steps_per_epoch), may_run_trainer=True)


@pytest.fixture(name="ask")
def fixture_ask(tmp_path):
    images = write_cats(tmp_path / "images", count=1)
    toml = f'[general]\ncaption_extension = ".txt"\n%s\n[[datasets]]\nresolution = 64\n[[datasets.subsets]]\nimage_dir = "{images}"\n'
    return lambda general="", **options: asked(MODELS | {f"--{name}": value for name, value in options.items()}, toml % general, TRAINER)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "field", "words"),
    [
        ({"optimizer_type": ("nosuch",)}, "advanced", "optimizer_type nosuch is not an optimizer; use one of AdamW"),
        ({"optimizer_type": ("AdamW",), "optimizer_args": ("betas=2",)}, "advanced", "optimizer_args betas=2 does not fit AdamW"),
        ({"lr_scheduler": ("nosuch",)}, "lr_scheduler", "Learning rate scheduler nosuch is not supported; use one of constant"),
        ({"lr_scheduler_args": ("power=1",), "lr_scheduler": ("cosine",)}, "advanced", "lr_scheduler_args power=1 does not fit cosine"),
        ({"network_args": ("foo=1",)}, "advanced", "network_args foo=1 is not supported; known: "),
        ({"network_weights": ("/no/such.safetensors",)}, "advanced", "network_weights /no/such.safetensors is missing"),
        ({"general": "shuffle_caption = true", "cache_text_encoder_outputs": None}, "advanced", "shuffle_caption changes captions while training"),
    ],
)  # fmt: skip
def test_setting_that_trainer_refuses_is_error_of_its_field(ask, options, field, words):
    (problem,) = ask(**options)
    assert (problem.level, problem.field, type(problem.error)) == (Level.ERROR, field, ConfigError)
    assert problem.message.startswith(words)
    assert "--" not in problem.message
    assert "dataset.toml" not in problem.message


def test_check_passes_chosen_flags_steps_per_epoch_and_gpu_availability(tmp_path, monkeypatch):
    trainer = fake_trainer(tmp_path / "t", "print(json.dumps({'error': json.dumps(request), 'unchecked': []}))")
    monkeypatch.setattr(trainer_verdicts, "has_gpu", lambda: True)
    (problem,) = asked({"--seed": ("1",)}, "", trainer, steps_per_epoch=7)
    assert '"chosen": ["seed"], "steps_per_epoch": 7, "has_gpu": true' in problem.message


def test_changed_number_of_steps_is_checked_again(counted):
    trainer, count = counted
    verdicts = TrainerVerdicts()
    for steps in (1, 2):
        verdicts.problems(question({"--seed": ("1",)}, trainer, steps_per_epoch=steps), may_run_trainer=True)
    assert count() == 2


@pytest.mark.slow
def test_accepted_settings_give_no_problem(ask):
    assert ask(optimizer_type=("AdamW",), optimizer_args=("weight_decay=0.01",), lr_scheduler=("cosine",)) == ()


@pytest.mark.slow
def test_class_of_users_own_is_not_imported(ask, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (problem,) = ask(optimizer_type=("mine.Optimizer",), optimizer_args=("any=1",))
    assert problem.level is Level.WARNING
    assert "optimizer_type names a class of your own" in problem.message
    assert not (tmp_path / "executed").exists()


def fake_trainer(folder, body):
    script = folder / trainer_verdicts.CHECK_SCRIPT
    script.parent.mkdir(parents=True)
    script.write_text(f"import json, sys\nrequest = json.load(sys.stdin)\n{body}\n")
    return folder


@pytest.fixture(name="counted")
def fixture_counted(tmp_path):
    """Return a trainer whose check accepts everything and takes a moment, and a function that counts how often it was asked."""
    log = tmp_path / "log"
    accept = "print(json.dumps({'error': None, 'unchecked': []}))"
    trainer = fake_trainer(tmp_path / "t", f"import time\nopen({str(log)!r}, 'a').write('x')\ntime.sleep(0.1)\n{accept}")
    return trainer, lambda: len(log.read_text()) if log.exists() else 0


def test_equal_settings_are_checked_once(counted):
    trainer, count = counted
    verdicts = TrainerVerdicts()
    for name in ("one", "two"):  # the run's own name does not matter
        assert verdicts.problems(question({"--output_name": (name,), "--seed": ("1",)}, trainer), may_run_trainer=True) == ()
    assert count() == 1


def test_check_without_process_returns_only_cached_result(counted):
    trainer, count = counted
    verdicts = TrainerVerdicts()
    assert verdicts.problems(question({"--seed": ("1",)}, trainer), may_run_trainer=False) is None
    assert count() == 0
    verdicts.problems(question({"--seed": ("1",)}, trainer), may_run_trainer=True)
    assert verdicts.problems(question({"--seed": ("1",)}, trainer), may_run_trainer=False) == ()
    assert verdicts.problems(question({"--seed": ("2",)}, trainer), may_run_trainer=False) is None
    assert count() == 1


def test_concurrent_checks_run_trainer_once(counted):
    trainer, count = counted
    verdicts = TrainerVerdicts()
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: verdicts.problems(question({"--seed": ("1",)}, trainer), may_run_trainer=True), range(4)))
    assert (found, count()) == ([()] * 4, 1)


@pytest.mark.parametrize("body", ["sys.exit('it broke')", "print('no JSON')", "print(json.dumps({}))"])
def test_failed_check_does_not_prevent_start(tmp_path, body):
    (problem,) = asked({}, json.dumps(str(tmp_path)), fake_trainer(tmp_path / "t", body))
    assert problem.level is Level.WARNING
    assert "could not check the advanced settings" in problem.message


def test_trainer_without_check_is_not_run(tmp_path):
    assert asked({}, "", tmp_path) == ()


@pytest.mark.parametrize(
    ("advanced", "is_needed"),
    [
        ({}, False), ({"lr_scheduler": "cosine", "network_alpha": 4, "enable_bucket": False}, False), ({"lr_scheduler": "piecewise_constant"}, True),
        ({"optimizer_type": "AdamW"}, True), ({"shuffle_caption": True}, True),
    ],
)  # fmt: skip
def test_only_unusual_settings_require_check(advanced, is_needed):
    assert bool(unusual_settings(TrainConfig(lora_name="x", advanced=advanced))) is is_needed


def test_model_defaults_require_no_check(tmp_path):
    models = list_models(tmp_path)
    assert len(models) > 1
    assert [model.id for model in models if unusual_settings(TrainConfig(lora_name="x", advanced=model.defaults.get("advanced", {})))] == []

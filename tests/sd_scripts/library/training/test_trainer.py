"""The loop on tiny models, in this process: stopped at a chosen position and resumed, it ends with exactly the tensors of the uninterrupted one."""

import json

import pytest
import torch
from safetensors.torch import load_file, safe_open

from library.cli.parse import parse
from library.errors import TrainerError
from library.process import StopFlag, StopRequested
from library.training.checkpoint import put_tensors
from library.training.preflight.settings import check_settings
from library.training.progress_log import ProgressLog
from library.training.setup import build_trainer
from tests.support.photos import write_cats
from tests.support.stops import flags, last_checkpoint, losses_of, write_dataset
from tests.support.tiny_models import write_tiny_models
from tests.support.trainer_process import same_tensors

pytestmark = pytest.mark.slow
QUICK = ("--network_train_unet_only", "--cache_text_encoder_outputs", "--optimizer_type", "AdamW")


@pytest.fixture(scope="module", name="models")
def fixture_models(tmp_path_factory):
    return write_tiny_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module", name="images")
def fixture_images(tmp_path_factory):
    return write_cats(tmp_path_factory.mktemp("images"), count=3, size=64)


class StopWhen(ProgressLog):
    """Asks for a stop when a line of progress.jsonl has the given fields."""

    def __init__(self, output_dir, stop, **fields):
        super().__init__(output_dir)
        self._stop, self._fields = stop, fields

    def write(self, **fields):
        super().write(**fields)
        now = {"phase": self.phase, "step": self.step} | fields
        if self._fields and all(now.get(name) == value for name, value in self._fields.items()):
            self._stop.is_set, self._fields = True, {}


def train(argv, out, **stop_when):
    """Train, from the furthest checkpoint if there is one; says whether it was stopped."""
    checkpoint = last_checkpoint(out)
    stop = StopFlag()
    config = parse([*argv, *(["--resume", str(checkpoint)] if checkpoint else [])])
    try:
        build_trainer(check_settings(config), StopWhen(str(out), stop, **stop_when), stop).run()
    except StopRequested:
        return True
    return False


@pytest.fixture(name="dataset")
def fixture_dataset(images, tmp_path):
    return write_dataset(tmp_path / "d.toml", images)  # 6 steps per epoch


CASES = {
    "8 bit, at an epoch's border": (("--optimizer_type", "AdamW8bit"), [{"phase": "training", "step": 6}]),
    "Prodigy on a schedule, twice": (
        ("--optimizer_type", "Prodigy", "--learning_rate", "1", "--lr_scheduler", "cosine"),
        [{"phase": "training", "step": 2}, {"phase": "training", "step": 9}],
    ),
    "Adafactor by its own rate": (("--optimizer_type", "Adafactor", "--max_grad_norm", "0"), [{"phase": "training", "step": 5}]),
    "schedule-free, while saving an epoch": (
        ("--optimizer_type", "AdamWScheduleFree", "--save_every_n_epochs", "1"),
        [{"phase": "saving", "step": 6}],
    ),
    "begun in the second epoch, over a cosine": (
        ("--optimizer_type", "AdamW", "--initial_epoch", "2", "--lr_scheduler", "cosine", "--max_train_epochs", "3"),
        [{"phase": "training", "step": 4}, {"phase": "training", "step": 7}],
    ),
    "all in bfloat16, an average, while caching": (
        ("--full_bf16", "--mixed_precision", "bf16", "--ema_decay", "0.8"),
        [{"phase": "caching"}, {"phase": "training", "step": 3}],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_stopped_and_resumed_training_equals_uninterrupted_one(case, models, dataset, tmp_path):
    extra, stops = CASES[case]
    if "ScheduleFree" in str(extra) or "Prodigy" in extra:
        pytest.importorskip("schedulefree" if "ScheduleFree" in str(extra) else "prodigyopt")
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    assert not train(flags(models, dataset, straight, *QUICK, *extra), straight)
    for stop in stops:
        assert train(flags(models, dataset, stopped, *QUICK, *extra), stopped, **stop)
    assert not train(flags(models, dataset, stopped, *QUICK, *extra), stopped)
    assert same_tensors(straight / "cat.safetensors", stopped / "cat.safetensors")
    assert losses_of(straight) == losses_of(stopped)
    assert sorted(path.name for path in straight.glob("*.safetensors")) == sorted(path.name for path in stopped.glob("*.safetensors"))


def test_initial_epoch_comes_from_checkpoint_if_flags_do_not_have_it(models, dataset, tmp_path):
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    begun = flags(models, dataset, straight, *QUICK, "--initial_epoch", "2", "--lr_scheduler", "cosine", epochs=3)
    assert not train(begun, straight)
    assert train([word.replace(str(straight), str(stopped)) for word in begun], stopped, phase="training", step=4)
    assert not train(flags(models, dataset, stopped, *QUICK, "--lr_scheduler", "cosine", epochs=3), stopped)
    assert same_tensors(straight / "cat.safetensors", stopped / "cat.safetensors")


def test_training_that_changed_no_weight_fails(models, dataset, tmp_path, monkeypatch):
    monkeypatch.setattr("library.cli.flag_checks.learns_nothing", lambda name, value: "")  # in place of a cause that no check foresees
    with pytest.raises(TrainerError, match="Nothing was learned in 6 steps") as caught:
        train(flags(models, dataset, tmp_path, *QUICK, "--network_alpha", "1e-44", epochs=1), tmp_path)
    assert caught.value.reason_code == "bad_output"
    assert not (tmp_path / "cat.safetensors").exists()


def test_lora_with_nan_does_not_replace_valid_file(models, dataset, tmp_path):
    (tmp_path / "cat.safetensors").write_bytes(b"whole")
    with pytest.raises(TrainerError, match=r"NaN or infinity|The loss became"):
        train(flags(models, dataset, tmp_path, *QUICK, "--learning_rate", "1e6", "--save_precision", "fp16", epochs=1), tmp_path)
    assert (tmp_path / "cat.safetensors").read_bytes() == b"whole"


def test_checkpoint_beyond_end_is_refused_and_lora_stays(models, dataset, tmp_path):
    assert not train(flags(models, dataset, tmp_path, *QUICK, "--save_state_on_train_end", epochs=1), tmp_path)
    before = (tmp_path / "cat.safetensors").read_bytes()
    fewer = flags(models, dataset, tmp_path, *QUICK)
    index = fewer.index("--max_train_epochs")
    fewer[index : index + 2] = ["--max_train_steps", "3"]
    with pytest.raises(TrainerError, match="is at step 6, beyond the 3"):
        train(fewer, tmp_path)
    assert (tmp_path / "cat.safetensors").read_bytes() == before


def test_average_loss_is_that_of_epochs_steps(models, dataset, tmp_path):
    argv = flags(models, dataset, tmp_path, *QUICK, "--gradient_accumulation_steps", "3", "--save_state_on_train_end", epochs=3)
    assert not train(argv, tmp_path)
    kept = json.loads((tmp_path / "cat-state" / "train_state.json").read_text())["losses"]
    assert kept == list(losses_of(tmp_path).values())[-2:]  # 6 batches per epoch, 2 steps


def test_stop_at_last_step_or_during_final_save_is_ignored(models, dataset, tmp_path):
    for number, stop in enumerate(({"phase": "training", "step": 6}, {"phase": "verifying"})):
        out = tmp_path / str(number)
        assert not train(flags(models, dataset, out, *QUICK, epochs=1), out, **stop)
        assert (out / "cat.safetensors").is_file()


def test_samples_missing_after_stop_are_generated_on_resume(models, dataset, tmp_path):
    (tmp_path / "prompts.txt").write_text("one --w 64 --h 64 --s 1\ntwo --w 64 --h 64 --s 1\n")
    out = tmp_path / "out"
    argv = flags(models, dataset, out, *QUICK, "--sample_prompts", str(tmp_path / "prompts.txt"), "--sample_every_n_epochs", "1")
    assert train(argv, out, phase="sampling")
    assert not list((out / "sample").glob("*e000001*"))
    assert not train(argv, out)
    assert [len(list((out / "sample").glob(f"*{epoch}_0?_*"))) for epoch in ("e000001", "e000002")] == [2, 2]


def test_training_that_was_cut_short_is_extended_from_middle_of_its_epoch(models, dataset, tmp_path):
    argv = [*QUICK, "--optimizer_type", "AdamW", "--lr_scheduler", "constant_with_warmup", "--lr_warmup_steps", "3", "--save_state"]
    out, straight = tmp_path / "out", tmp_path / "straight"
    cut = flags(models, dataset, out, *argv)
    cut[cut.index("--max_train_epochs") : cut.index("--max_train_epochs") + 2] = ["--max_train_steps", "8"]
    assert not train(cut, out)
    state = json.loads((out / "cat-state" / "train_state.json").read_text())
    assert (state["step"], state["epoch"], state["batch_in_epoch"]) == (8, 1, 2)
    assert not train(flags(models, dataset, out, *argv), out)
    assert not train(flags(models, dataset, straight, *argv), straight)
    assert same_tensors(straight / "cat.safetensors", out / "cat.safetensors")


def test_extended_training_uses_schedule_of_new_length(models, dataset, tmp_path, capsys):
    out = tmp_path / "out"
    extra = [*QUICK, "--optimizer_type", "SGD", "--lr_scheduler", "linear", "--save_state", "--learning_rate", "0.1"]
    assert not train(flags(models, dataset, out, *extra, epochs=1), out)
    assert not train(flags(models, dataset, out, *extra, epochs=2), out)
    rates = {line["step"]: line["lr"] for line in map(json.loads, (out / "progress.jsonl").read_text().splitlines()) if "lr" in line}
    assert [rates[step] for step in range(1, 7)] == pytest.approx([0.1 * (1 - done / 6) for done in range(6)])
    assert [rates[step] for step in range(7, 13)] == pytest.approx([0.1 * (1 - done / 12) for done in range(6, 12)])


def test_averaged_weights_are_saved_and_training_weights_kept(models, dataset, tmp_path):
    plain, averaged = tmp_path / "plain", tmp_path / "averaged"
    assert not train(flags(models, dataset, plain, *QUICK, "--save_state", "--save_every_n_steps", "1", epochs=1), plain)
    assert not train(flags(models, dataset, averaged, *QUICK, "--ema_decay", "0.5", "--save_state", epochs=1), averaged)
    assert same_tensors(plain / "cat-state" / "model.safetensors", averaged / "cat-state" / "model.safetensors")
    average = load_file(averaged / "cat-state" / "average.safetensors")
    saved = load_file(averaged / "cat.safetensors")
    assert all(torch.equal(average[name], saved[name]) for name in average)
    files = [*(f"cat-step{step:08d}.safetensors" for step in range(1, 6)), "cat.safetensors"]
    steps = [load_file(plain / name) for name in files]
    expected = steps[0]
    for before, weights in enumerate(steps[1:], 1):
        kept = min(0.5, (1 + before) / (10 + before))
        expected = {name: kept * expected[name] + (1 - kept) * tensor for name, tensor in weights.items()}
    assert all(torch.allclose(expected[name], saved[name], atol=1e-6) for name in average)
    with safe_open(averaged / "cat.safetensors", "pt") as file:
        assert file.metadata()["ss_ema_decay"] == "0.5"


def test_initial_step_and_epoch_flags_set_position(models, dataset, tmp_path):
    straight, skipped = tmp_path / "straight", tmp_path / "skipped"
    begin = ["--initial_step", "8", "--skip_until_initial_step", "--save_n_epoch_ratio", "2"]
    assert not train(flags(models, dataset, skipped, *QUICK, *begin), skipped)
    assert sorted(losses_of(skipped)) == [9, 10, 11, 12]
    assert not (skipped / "cat-000001.safetensors").exists()
    assert not train(flags(models, dataset, straight, *QUICK, "--save_n_epoch_ratio", "2"), straight)
    assert (straight / "cat-000001.safetensors").exists()  # of 2 epochs each second part is one
    with pytest.raises(TrainerError, match="leaves nothing"):
        train(flags(models, dataset, skipped, *QUICK, "--initial_epoch", "3"), tmp_path / "none")


def test_state_of_kohya_trainer_is_resumed(models, dataset, tmp_path, capsys):
    """The optimizer's groups and numbers are one part's here, so that nothing but the missing position makes it inexact."""
    straight, stopped, out = tmp_path / "straight", tmp_path / "stopped", tmp_path / "out"
    argv = flags(models, dataset, straight, *QUICK)
    assert not train(argv, straight)
    assert train(flags(models, dataset, stopped, *QUICK), stopped, phase="training", step=8)
    ours, kohyas = last_checkpoint(stopped), tmp_path / "kohya-state"
    kohyas.mkdir()
    (kohyas / "model.safetensors").write_bytes((ours / "model.safetensors").read_bytes())
    state = put_tensors(json.loads((ours / "optimizer.json").read_text()), load_file(ours / "optimizer.safetensors"))
    torch.save(state, kohyas / "optimizer.bin")
    torch.save({"last_epoch": 8}, kohyas / "scheduler.bin")
    (kohyas / "train_state.json").write_text('{"current_epoch": 2, "current_step": 2}')
    assert not train([*flags(models, dataset, out, *QUICK), "--resume", str(kohyas)], out)
    assert capsys.readouterr().out.count("resuming inexactly from a state of kohya's trainer at step 8") == 1
    assert sorted(losses_of(out)) == [9, 10, 11, 12]
    assert same_tensors(straight / "cat.safetensors", out / "cat.safetensors")


def test_tracker_curves_continue_in_same_folder(models, dataset, tmp_path):
    out, logs = tmp_path / "out", tmp_path / "logs"
    argv = flags(models, dataset, out, *QUICK, "--logging_dir", str(logs), "--log_prefix", "cat-")
    assert train(argv, out, phase="training", step=4)
    assert not train(argv, out)
    (folder,) = logs.iterdir()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "network_train")).Reload()
    losses = losses_of(out)
    assert [(point.step, pytest.approx(losses[point.step])) for point in events.Scalars("loss/current")] == [
        (e.step, e.value) for e in events.Scalars("loss/current")
    ]
    assert [point.step for point in events.Scalars("loss/current")] == list(range(1, 13))
    averages = {point.step: point.value for point in events.Scalars("loss/average")}
    assert averages[6] == pytest.approx(sum(losses[step] for step in range(1, 7)) / 6)  # over the stop
    assert [point.step for point in events.Scalars("loss/epoch_average")] == [1, 2]


def test_models_in_folders_train_as_same_models_in_files(models, dataset, tmp_path):
    from tests.support.tiny_models import NAMES

    folders = tmp_path / "folders"
    for name, file in NAMES.items():
        (folders / name).mkdir(parents=True)
        (folders / name / "model.safetensors").symlink_to(models / file)
    for tokenizer in ("tokenizer_clip", "tokenizer_t5"):
        (folders / tokenizer).symlink_to(models / tokenizer)
    files, out = tmp_path / "files", tmp_path / "out"
    assert not train(flags(models, dataset, files, *QUICK, epochs=1), files)
    argv = flags(models, dataset, out, *QUICK, epochs=1)
    paths = {str(models / file): str(folders / name) for name, file in NAMES.items()}
    assert not train([paths.get(word, word) for word in argv], out)
    assert same_tensors(files / "cat.safetensors", out / "cat.safetensors")

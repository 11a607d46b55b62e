"""--config_file is a command line in a file: the same names, the same checks, and the command line has precedence."""

from dataclasses import replace

import pytest

from library.cli.parse import parse, read_flags, write_config
from library.errors import TrainerError

NEEDED = """
ae = "a"
output_dir = "o"
dataset_config = "d"
seed = 1
[models]
pretrained_model_name_or_path = "f"
clip_l = "c"
t5xxl = "t"
"""


@pytest.fixture(name="write")
def fixture_write(tmp_path):
    def write(text, needed=NEEDED):
        (tmp_path / "run.toml").write_text(needed + text)
        return str(tmp_path / "run.toml")

    return write


def test_sections_are_flattened_and_command_line_wins(write):
    path = write(
        '[train]\nlearning_rate = 1e-4\nsdpa = true\nnetwork_args = ["a=1", "b=2"]\nlr_warmup_steps = 0.1\nflip_aug = false\nresolution = [512, 768]'
    )
    args = read_flags(["--config_file", path, "--learning_rate", "2e-4"])
    assert (args.learning_rate, args.sdpa, args.network_args, args.lr_warmup_steps, args.flip_aug) == (
        2e-4,
        True,
        ["a=1", "b=2"],
        0.1,
        False,
    )
    assert (args.clip_l, args.ae, args.seed, args.resolution) == ("c", "a", 1, "512,768")
    assert parse(["--config_file", path.removesuffix(".toml")]).optim.learning_rate == 1e-4


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("learnin_rate = 1e-4", "--learnin_rate is not a flag .* Did you mean --learning_rate"),
        ('learning_rate = "fast"', "learning_rate"),
        ("sdpa = 1", "sdpa must be true or false"),
        ("learning_rate = true", "learning_rate must be no truth value"),
        ('loss_type = "l3"', "loss_type"),
        ("[train.more]\nx = 1", "more"),
        ("this is not TOML", "cannot be read"),
    ],
)
def test_invalid_value_is_reported_with_file(text, named, write):
    with pytest.raises(TrainerError, match=named) as caught:
        parse(["--config_file", write(text)])
    assert "run.toml" in str(caught.value)


def test_unsupported_flag_in_config_file_is_refused(write):
    with pytest.raises(TrainerError, match="--deepspeed is not supported"):
        parse(["--config_file", write("deepspeed = true")])


def test_missing_file_is_reported(tmp_path):
    with pytest.raises(TrainerError, match=r"nowhere\.toml is missing"):
        parse(["--config_file", str(tmp_path / "nowhere")])


def test_written_config_file_is_read_back(tmp_path, capsys):
    path = str(tmp_path / "new")
    flags = ["--learning_rate", "3e-4", "--sdpa", "--network_args", "a=1", "--dataset_config", "d", "--output_name", "höhe"]
    assert write_config(read_flags(["--config_file", path, "--output_config", *flags])) == tmp_path / "new.toml"
    rest = ["--pretrained_model_name_or_path", "f", "--ae", "a", "--clip_l", "c", "--t5xxl", "t", "--output_dir", "o"]
    again, directly = parse(["--config_file", path, "--seed", "1", *rest]), parse([*flags, *rest, "--seed", "1"])
    assert again == replace(directly, given={**directly.given, "config_file": path})
    with pytest.raises(TrainerError, match="already exists"):
        write_config(read_flags(["--config_file", path, "--output_config", *flags]))
    with pytest.raises(TrainerError, match="--output_config needs --config_file"):
        write_config(read_flags(["--output_config", *flags]))


def test_byte_order_mark_is_ignored(tmp_path):
    (tmp_path / "run.toml").write_text(NEEDED, encoding="utf-8-sig")
    assert read_flags(["--config_file", str(tmp_path / "run.toml")]).ae == "a"


def test_list_on_command_line_replaces_one_in_file(write):
    path = write('network_args = ["a=1", "b=2"]\nbase_weights = ["x"]\n')
    args = read_flags(["--config_file", path, "--network_args", "b=3", "--network_args", "c=4"])
    assert (args.network_args, args.base_weights) == (["b=3", "c=4"], ["x"])

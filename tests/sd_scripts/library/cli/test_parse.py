"""All 215 of kohya's flags: names, types and defaults as kohya has them, none silently ignored."""

import json
import re

import pytest

from library.cli.flag_support import HONORED, IGNORED, REFUSED
from library.cli.flags import TABLE, build_parser, rows
from library.cli.parse import parse, read_flags
from library.errors import TrainerError
from tests.support.trainer_config import trainer_config
from tests.support.trainer_process import TIER_FLAGS, trainer_flags

NEEDED = [
    "--pretrained_model_name_or_path",
    "f",
    "--ae",
    "a",
    "--clip_l",
    "c",
    "--t5xxl",
    "t",
    "--output_dir",
    "o",
    "--dataset_config",
    "d",
]
VALUES = {"int": "3", "float": "0.25", "int_or_float": "0.25", "str": "x", "Path": "x"}


def test_every_flag_has_exactly_one_support_class():
    names = {row["flag"][2:] for row in json.loads(TABLE.read_text())}
    assert len(names) == 215
    assert names == HONORED | set(IGNORED) | set(REFUSED)
    assert len(HONORED) + len(IGNORED) + len(REFUSED) == 215
    assert all({**IGNORED, **REFUSED}.values())


def test_defaults_match_kohya():
    args = vars(build_parser().parse_args([]))
    assert all(args[row["flag"][2:]] == row["default"] for row in rows())


def given(row):
    choices = [choice for choice in row.get("choices") or () if choice not in (None, row["default"])]
    if row["type"] == "flag":
        return [row["flag"]]
    numeric = row["flag"] in ("--text_encoder_lr", "--base_weights_multiplier")
    return [row["flag"], str(choices[0]) if choices else "0.25" if numeric else VALUES[row["type"]]]


@pytest.mark.parametrize("row", [row for row in rows() if row["support"] == "refused"], ids=lambda row: row["flag"])
def test_refused_flag_is_reported_with_its_reason(row):
    with pytest.raises(TrainerError, match=row["flag"]) as caught:
        parse([*NEEDED, *given(row)])
    assert REFUSED[row["flag"][2:]] in str(caught.value)


@pytest.mark.parametrize("row", [row for row in rows() if row["support"] == "ignored"], ids=lambda row: row["flag"])
def test_ignored_flag_is_warned_of(row, capsys):
    parse([*NEEDED, "--seed", "1", *given(row)])
    assert f"warning: {row['flag']} has no effect" in capsys.readouterr().err


def test_honored_flag_prints_no_warning(capsys):
    parse([*NEEDED, "--seed", "1", "--network_alpha", "4", "--sdpa"])
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("extra", "named"),
    [
        (["--fp8_matmul"], "--fp8_matmul needs --fp8_base"),
        (["--fp8_matmul", "--fp8_base", "--base_quantization", "int8"], "--fp8_matmul needs --fp8_base"),
        (["--max_timestep", "0"], "--max_timestep 0"),
        (["--learning_rate", "1e38"], "--learning_rate 1e"),
        (["--learnin_rate", "1"], "--learning_rate"),
        (["--train_batch", "1"], "--train_batch_size"),
        (["--mixed_precision", "fp16"], "FLUX overflows in float16; use bf16"),
        (["--loss_type", "huber"], "--huber_schedule constant or exponential"),
        (["--loss_type", "smooth_l1"], "--huber_schedule constant or exponential"),
        (["--output_name", "a/b"], "output_name a/b"),
        (["--output_name", ".."], "output_name"),
        (["--output_name", "x" * 300], "output_name"),
        (["--text_encoder_lr", "1e-4", "-1"], "text_encoder_lr -1"),
        (["--text_encoder_lr", "1e308"], "text_encoder_lr 1e[+]308 .* at most 1e[+]30"),
        (["--unet_lr", "1e308"], "unet_lr 1e[+]308 .* at most 1e[+]30"),
        (["--network_alpha", "-1"], "network_alpha"),
        (["--network_alpha", "1e308"], "network_alpha 1e[+]308 .* at most 1e[+]06"),
        (["--huber_c", "1e308"], "huber_c 1e[+]308 .* at most 1e[+]06"),
        (["--lr_scheduler_min_lr_ratio", "1e308"], "lr_scheduler_min_lr_ratio 1e[+]308 .* at most 1e[+]06"),
        (["--guidance_scale", "1e308"], "guidance_scale 1e[+]308 .* at most 1e[+]30"),
        (["--scale_weight_norms", "1e308"], "scale_weight_norms 1e[+]308 .* at most 1e[+]30"),
        *(
            (["--" + name, "1e308"], f"{name} 1e[+]308 .* at most 1e[+]06")
            for name in (
                "discrete_flow_shift",
                "sigmoid_scale",
                "logit_mean",
                "logit_std",
                "mode_scale",
                "ip_noise_gamma",
                "prior_loss_weight",
                "lr_scheduler_power",
            )
        ),
        *(([f"--{name}=-1e308"], f"{name} -1e[+]308 .* at least -1") for name in ("sigmoid_scale", "logit_mean", "mode_scale")),
        (["--max_grad_norm", "1e308"], "max_grad_norm 1e[+]308 .* at most 1e[+]30"),
        (["--base_weights", "a", "--base_weights_multiplier", "1e308"], "base_weights_multiplier 1e[+]308 must be between"),
        (["--max_train_epochs", "many"], "max_train_epochs"),
        (["--learning_rate", "nan"], "learning_rate"),
        (["--learning_rate", "-1"], "learning_rate"),
        (["--max_train_epochs", "0"], "max_train_epochs"),
        (["--loss_type", "l3"], "loss_type"),
        (["--network_module", "networks.oft"], "networks.oft"),
        (["--min_timestep", "700", "--max_timestep", "300"], "min_timestep"),
        (["--use_8bit_adam", "--optimizer_type", "AdamW"], "use_8bit_adam"),
        (["unexpected"], "unexpected"),
        (["\\"], "a backslash is left over"),
        ([" "], "a backslash is left over"),
        (["--sdpa", "\r"], "a backslash is left over"),
        (["--split_mode", "max"], "--split_mode takes no value; remove “max”"),
        (["--split_mode=true"], "--split_mode takes no value; remove “true”"),
    ],
)
def test_invalid_value_is_reported(extra, named):
    with pytest.raises(TrainerError, match=named):
        parse([*NEEDED, *extra])


@pytest.mark.parametrize("missing", ["--pretrained_model_name_or_path", "--ae", "--clip_l", "--t5xxl", "--output_dir"])
def test_missing_required_flag_is_reported(missing):
    index = NEEDED.index(missing)
    with pytest.raises(TrainerError, match=missing):
        parse(NEEDED[:index] + NEEDED[index + 2 :])


def test_flags_that_dataset_config_overrides_are_reported(capsys):
    parse([*NEEDED, "--seed", "1", "--reg_data_dir", "x"])
    assert "--reg_data_dir has no effect" in capsys.readouterr().err


@pytest.mark.parametrize(
    "given",
    [
        ["--text_encoder_lr", "1e-4", "--network_train_unet_only"], ["--network_weights", "a", "--resume", "b"], ["--sample_prompts", "p.txt"],
        ["--sample_every_n_steps", "3"], ["--skip_until_initial_step"], ["--lr_scheduler_args", "a=1"],
    ],
)  # fmt: skip
def test_flags_that_another_flag_disables_are_reported(given, capsys):
    parse([*NEEDED, "--seed", "1", *given])
    assert f"warning: {given[0]} has no effect" in capsys.readouterr().err


def test_flag_aliases_are_equivalent():
    config = parse([*NEEDED, "--seed", "1", "--use_8bit_adam", "--optimizer_type", "adamw8bit", "--caption_extention", ".txt"])
    assert config.data.dataset_defaults["caption_extension"] == ".txt"
    assert parse([*NEEDED, "--seed", "1", "--network_dim", "8", "--network_alpha", "0"]).network.network_alpha == 8


def test_caching_to_disk_means_caching_and_missing_seed_is_reported(capsys):
    config = parse([*NEEDED, "--cache_latents_to_disk", "--cache_text_encoder_outputs_to_disk"])
    assert config.data.cache_latents
    assert config.data.cache_text_encoder_outputs
    assert str(config.run.seed) in capsys.readouterr().out


LISTS = {row["flag"]: ["0.25", "0.5", "0.75"] if row["type"] == "float" else ["a=1", "b=2", "c=3"] for row in rows() if row.get("nargs")}


def test_every_flag_of_several_values_is_known():
    assert set(LISTS) == {
        "--network_args", "--optimizer_args", "--lr_scheduler_args", "--text_encoder_lr", "--base_weights", "--base_weights_multiplier"
    }  # fmt: skip


@pytest.mark.parametrize("flag", LISTS)
def test_flag_of_several_values_that_is_given_twice_has_values_of_both(flag):
    first, *others = LISTS[flag]
    twice = vars(read_flags([flag, first, "--sdpa", flag, *others]))
    assert twice == vars(read_flags([flag, first, *others, "--sdpa"]))
    assert len(twice[flag[2:]]) == 3


@pytest.mark.parametrize("flag", ["--network_args", "--optimizer_args", "--lr_scheduler_args"])
@pytest.mark.parametrize("words", [["a=1", "FLAG", "a=2"], ["a=1", "b=1", "a=2"]])
def test_key_that_is_given_twice_with_two_values_is_refused(flag, words):
    with pytest.raises(TrainerError, match=f"{flag} has a twice, a=1 and a=2; keep one of them"):
        parse([*NEEDED, flag, *(flag if word == "FLAG" else word for word in words)])


@pytest.mark.parametrize("tier", TIER_FLAGS)
def test_fluxgym_own_flags_print_no_warning(tier, tmp_path, capsys):
    parse(trainer_flags(tmp_path, tmp_path / "d.toml", tmp_path, tier=tier))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("flag", "text", "sentence"),
    [
        ("mode_scale", "-1e300", "--mode_scale -1e+300 is too small; it must be at least -1e+06."),
        ("lr_scheduler_power", "-1e308", "--lr_scheduler_power -1e+308 is too small; it must be at least -1e+06."),
        ("lr_scheduler_min_lr_ratio", "-1e-3", "--lr_scheduler_min_lr_ratio -0.001 is too small; it must be at least 0."),
    ],
)
def test_negative_number_in_exponent_form_is_refused_by_its_range(flag, text, sentence):
    with pytest.raises(TrainerError, match=re.escape(sentence)):
        trainer_config(f"--{flag}", text)


def test_negative_number_in_exponent_form_is_value():
    assert trainer_config("--mode_scale", "-1e-3").loss.mode_scale == -0.001

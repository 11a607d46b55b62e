"""All 215 of kohya's flags: names, types and defaults as kohya has them, none silently ignored."""

import json
import re

import pytest

from library.cli.flag_support import HONORED, IGNORED, REFUSED
from library.cli.flags import TABLE, Support, all_flags, build_parser
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
    assert all(args[flag.name] == flag.default for flag in all_flags().values())


def words_with(flag):
    choices = [choice for choice in flag.choices or () if choice not in (None, flag.default)]
    if flag.is_switch:
        return [flag.option]
    numeric = flag.option in ("--text_encoder_lr", "--base_weights_multiplier")
    return [flag.option, str(choices[0]) if choices else "0.25" if numeric else VALUES[flag.type]]


def flags_with(support):
    return [pytest.param(flag, id=flag.option) for flag in all_flags().values() if flag.support == support]


@pytest.mark.parametrize("flag", flags_with(Support.REFUSED))
def test_refused_flag_is_named_with_its_reason(flag):
    with pytest.raises(TrainerError, match=flag.option) as caught:
        parse([*NEEDED, *words_with(flag)])
    assert REFUSED[flag.name] in str(caught.value)


@pytest.mark.parametrize("flag", flags_with(Support.IGNORED))
def test_ignored_flag_has_a_warning_and_parsing_prints_nothing(flag, capsys):
    (warning,) = parse([*NEEDED, "--seed", "1", *words_with(flag)]).warnings
    assert warning.startswith(f"{flag.option} has no effect")
    assert capsys.readouterr() == ("", "")


def test_honored_flag_has_no_warning():
    assert parse([*NEEDED, "--seed", "1", "--network_alpha", "4", "--sdpa"]).warnings == ()


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
        (["\\"], "A backslash is left over"),
        ([" "], "A backslash is left over"),
        (["--sdpa", "\r"], "A backslash is left over"),
        (["--split_mode", "max"], "--split_mode takes no value; remove “max”"),
        (["--split_mode=true"], "--split_mode takes no value; remove “true”"),
    ],
)
def test_invalid_value_is_reported(extra, named):
    with pytest.raises(TrainerError, match=named):
        parse([*NEEDED, *extra])


@pytest.mark.parametrize(
    ("extra", "sentence"),
    [
        (["--max_train_epochs", "many"], "--max_train_epochs needs a whole number, not “many”."),
        (["--learning_rate", "high"], "--learning_rate needs a number, not “high”."),
        (["--lr_warmup_steps", "x"], "--lr_warmup_steps needs a number, not “x”."),
        (["--loss_type", "l3"], "--loss_type must be one of l1, l2, huber, smooth_l1, not “l3”."),
        (["--network_dim"], "--network_dim needs a value."),
        (["--clip_skip", "1" + "0" * 21], f"--clip_skip {10**21} is too large; it must be at most 10000000."),
    ],
)
def test_refusal_by_parser_is_a_sentence_that_names_the_flag(extra, sentence):
    with pytest.raises(TrainerError) as caught:
        parse([*NEEDED, *extra])
    assert str(caught.value) == sentence


@pytest.mark.parametrize("missing", ["--pretrained_model_name_or_path", "--ae", "--clip_l", "--t5xxl", "--output_dir"])
def test_missing_required_flag_is_reported(missing):
    index = NEEDED.index(missing)
    with pytest.raises(TrainerError, match=missing):
        parse(NEEDED[:index] + NEEDED[index + 2 :])


def test_flags_that_dataset_config_overrides_are_reported():
    (warning,) = parse([*NEEDED, "--seed", "1", "--reg_data_dir", "x"]).warnings
    assert warning.startswith("--reg_data_dir has no effect")


@pytest.mark.parametrize(
    "given",
    [
        ["--text_encoder_lr", "1e-4", "--network_train_unet_only"], ["--network_weights", "a", "--resume", "b"], ["--sample_prompts", "p.txt"],
        ["--sample_every_n_steps", "3"], ["--skip_until_initial_step"], ["--lr_scheduler_args", "a=1"],
    ],
)  # fmt: skip
def test_flags_that_another_flag_disables_are_reported(given):
    warnings = parse([*NEEDED, "--seed", "1", *given]).warnings
    assert any(warning.startswith(f"{given[0]} has no effect") for warning in warnings)


def test_flag_aliases_are_equivalent():
    config = parse([*NEEDED, "--seed", "1", "--use_8bit_adam", "--optimizer_type", "adamw8bit", "--caption_extention", ".txt"])
    assert config.data.dataset_defaults["caption_extension"] == ".txt"
    assert parse([*NEEDED, "--seed", "1", "--network_dim", "8", "--network_alpha", "0"]).network.network_alpha == 8


def test_caching_to_disk_means_caching_and_a_missing_seed_is_drawn():
    config = parse([*NEEDED, "--cache_latents_to_disk", "--cache_text_encoder_outputs_to_disk"])
    assert config.data.cache_latents
    assert config.data.cache_text_encoder_outputs
    assert config.seed_is_drawn
    assert not parse([*NEEDED, "--seed", str(config.run.seed)]).seed_is_drawn


LISTS = {
    flag.option: ["0.25", "0.5", "0.75"] if flag.type == "float" else ["a=1", "b=2", "c=3"] for flag in all_flags().values() if flag.nargs
}


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
def test_fluxgyms_own_flags_have_no_warning(tier, tmp_path):
    assert parse(trainer_flags(tmp_path, tmp_path / "d.toml", tmp_path, tier=tier)).warnings == ()


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

"""kohya's --network_args are parsed, or refused with their names."""

import re
from pathlib import Path

import pytest

from library.errors import TrainerError
from networks import lycoris_args
from networks.network_args import KINDS, REFUSED, LoRAOptions, block_choice, parse_network_args, warn_of_network_args


def test_defaults_match_kohya():
    assert parse_network_args(None) == LoRAOptions()


def test_network_args_are_parsed():
    options = parse_network_args(
        ["train_blocks=single", "split_qkv=True", "rank_dropout=0.1", "img_attn_dim=0", "in_dims=[1,2,3,4,5]", "loraplus_lr_ratio=16",
         "train_single_block_indices=0-2,5", "network_reg_dims=single_blocks_(1|2)=3, txt=4", "network_reg_lrs=img_mod=1e-5"]
    )  # fmt: skip
    assert options.split_qkv
    assert (options.train_blocks, options.rank_dropout, options.img_attn_dim, options.loraplus_lr_ratio) == ("single", 0.1, 0, 16.0)
    assert options.in_dims == (1, 2, 3, 4, 5)
    assert options.network_reg_dims == (("single_blocks_(1|2)", 3), ("txt", 4))
    assert options.network_reg_lrs == (("img_mod", 1e-5),)


@pytest.mark.parametrize(
    "pair",
    [
        "foo=1", "train_blocks", "train_blocks=some", "split_qkv=yes", "rank_dropout=1", "rank_dropout=x", "module_dropout=-0.1", "img_attn_dim=-1",
        "in_dims=1,2", "in_dims=a,b,c,d,e", "loraplus_lr_ratio=0", "network_reg_dims=(=3", "network_reg_dims=3", "network_reg_lrs=a=b",
        "ggpo_sigma=0.1", "dropout=0.1",
    ],
)  # fmt: skip
def test_invalid_value_is_reported(pair):
    with pytest.raises(TrainerError, match="--network_args") as caught:
        parse_network_args([pair])
    assert pair.split("=")[0] in str(caught.value)


HUGE = "99999999999999999999"


@pytest.mark.parametrize(
    "pair",
    [
        "img_attn_dim=1e3", "img_attn_dim=x", f"single_mod_dim={HUGE}", "txt_mlp_dim=4097", f"in_dims=1,2,3,4,{HUGE}", "in_dims=1,2,3,4,1.5",
        f"network_reg_dims=single_blocks_0={HUGE}", "network_reg_dims=single_blocks_0=-1",
    ],
)  # fmt: skip
def test_rank_beyond_limit_is_refused_with_limit(pair):
    name, _, text = pair.partition("=")
    with pytest.raises(TrainerError) as caught:
        parse_network_args([pair])
    assert str(caught.value) == f"--network_args {name}={text} is not supported; a rank is a whole number from 0 to 4096."


@pytest.mark.parametrize(
    ("pair", "limit"),
    [
        ("loraplus_lr_ratio=1e308", "at most 1e+06"), ("loraplus_unet_lr_ratio=1e40", "at most 1e+06"),
        ("loraplus_text_encoder_lr_ratio=1e7", "at most 1e+06"), ("network_reg_lrs=img=1e308", "at most 1e+30"),
        ("rank_dropout=x", "it must be a finite number"), ("loraplus_lr_ratio=many", "it must be a finite number"),
        ("network_reg_dims=(=3", "“(” is not a regular expression"),
    ],
)  # fmt: skip
def test_number_out_of_range_is_refused_with_limit(pair, limit):
    with pytest.raises(TrainerError, match=re.escape(f"--network_args {pair.split('=')[0]}=")) as caught:
        parse_network_args([pair])
    assert limit in str(caught.value)


def test_arguments_that_kohya_ignores_are_reported(capsys):
    assert parse_network_args(["conv_dim=4", "conv_alpha=1"]) == LoRAOptions()
    warn_of_network_args(["conv_dim=4", "img_attn_dim=2"])
    out = capsys.readouterr().err
    assert "conv_dim has no effect" in out
    assert "img_attn_dim" not in out


def test_blocks_are_chosen_by_number():
    assert block_choice("x", "all", 3) == {0, 1, 2}
    assert block_choice("x", "none", 3) == block_choice("x", "", 3) == set()
    assert block_choice("x", "0, 3-5", 19) == {0, 3, 4, 5}
    for text in ("19", "3-2", "a", "-1", "1-", "9" * 5000):
        with pytest.raises(TrainerError, match=r"train_x"):
            block_choice("train_x", text, 19)


def test_document_lists_exactly_supported_arguments():
    text = (Path(__file__).parents[3] / "docs" / "networks.md").read_text()
    lora, lycoris = text.split("## LyCORIS")
    rows = {name for line in lora.splitlines() if line.startswith("| `") for name in re.findall(r"`(\w+)`", line.split("|")[1])}
    assert rows == set(KINDS) | set(REFUSED)
    assert set(re.findall(r"`(\w+)=?`", lycoris.split("## ")[0])) >= set(lycoris_args.KINDS) | set(lycoris_args.REFUSED)

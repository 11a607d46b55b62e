"""FluxGym's three tiers are FluxGym's, flag for flag; the others follow kohya's advice; every tier describes what it changes."""

import pytest

from fluxgym.config.vram_tiers import TIERS
from fluxgym.runs.launch_spec import to_words
from library.cli.flags import build_parser

ADAFACTOR = """--optimizer_type adafactor --optimizer_args relative_step=False scale_parameter=False warmup_init=False
    --lr_scheduler constant_with_warmup --max_grad_norm 0.0"""


@pytest.mark.parametrize(
    ("tier", "words"),
    [
        ("20G", "--optimizer_type adamw8bit"),
        ("16G", ADAFACTOR),
        ("12G", f"{ADAFACTOR} --split_mode --network_args train_blocks=single"),
        ("10G", f"{ADAFACTOR} --blocks_to_swap 22"),
        ("8G", f"{ADAFACTOR} --blocks_to_swap 28"),
    ],
)
def test_tier_flags_equal_documented_ones(tier, words):
    assert list(to_words(TIERS[tier].options)) == words.split()
    assert TIERS[tier].without == ()


def test_largest_tier_does_not_quantize():
    assert {name: tier.without for name, tier in TIERS.items() if tier.without} == {"24G": ("--fp8_base",)}
    args = build_parser().parse_args(to_words(TIERS["24G"].options))
    assert not args.blocks_to_swap
    assert not args.split_mode


def test_every_tier_is_described_from_large_to_small():
    sizes = [int(tier.removesuffix("G")) for tier in TIERS]
    assert sizes == sorted(sizes, reverse=True)
    for tier in TIERS.values():
        if blocks := tier.options.get("--blocks_to_swap"):
            swapped = int(blocks[0])
            assert f"{swapped // 2} double and {2 * (swapped - swapped // 2)} single blocks swapped" in tier.description

"""Numbers of blocks as kohya writes them, and how many blocks a model has by the names of its tensors."""

import pytest

from fluxgym.contract.block_numbers import INDICES, block_numbers, count_blocks

DOUBLE, SINGLE = INDICES


def test_all_none_numbers_and_ranges_are_parsed():
    assert block_numbers("all", 3) == {0, 1, 2}
    assert block_numbers("none", 3) == block_numbers("", 3) == set()
    assert block_numbers("0, 3-5", 19) == {0, 3, 4, 5}


@pytest.mark.parametrize(
    ("text", "remedy"), [("19", "blocks are 0 to 18"), ("3-1", "blocks are 0 to 18"), ("x", "write block numbers"), ("-1", "write")]
)
def test_invalid_text_is_refused(text, remedy):
    with pytest.raises(ValueError, match=remedy):
        block_numbers(text, 19)


@pytest.mark.parametrize(
    "names",
    [
        [
            "double_blocks.1.img_attn.qkv.weight",
            "model.diffusion_model.double_blocks.0.x.weight",
            "single_blocks.2.linear1.weight",
            "img_in.weight",
        ],
        ["transformer_blocks.1.attn.to_q.weight", "single_transformer_blocks.2.proj_mlp.weight", "x_embedder.weight"],
    ],
)
def test_blocks_are_counted_by_either_names(names):
    assert (count_blocks(DOUBLE, names), count_blocks(SINGLE, names)) == (2, 3)
    assert count_blocks(DOUBLE, []) == 0

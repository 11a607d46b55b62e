"""The checks before Start say what stands in the way, and how many steps there will be."""

import pytest

from fluxgym.config.tiers import DESCRIPTIONS, TIERS
from fluxgym.insight.preflight import check
from tests.fluxgym.models.test_catalog import write_header
from tests.support.photos import write_cats
from tests.support.small_world import small_world, state


@pytest.fixture(name="look")
def fixture_look(tmp_path):
    world, images = small_world(tmp_path), write_cats(tmp_path / "images")
    return lambda folder=images, **changes: check(state(**changes), folder, world.models, world.outputs)


def test_all_green(look):
    found = look()
    assert found.can_start
    assert found.steps == 8


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"lora_name": ""}, "lora_name"), ({"base_model": "flux-dev"}, "base_model"), ({"resolution": 100}, "resolution")],
)
def test_what_stands_in_the_way_is_at_its_field(changes, field, look):
    found = look(**changes)
    assert not found.can_start
    assert field in [line.field for line in found.lines if line.level == "error"]


def test_no_pictures_yet(look, tmp_path):
    found = look(tmp_path / "none")
    assert [line.text for line in found.lines if line.level == "error"] == ["There are no pictures yet; add at least one."]
    assert found.steps is None


@pytest.mark.parametrize("tier", TIERS)
def test_what_the_tier_switches_is_told(tier, look):
    (line,) = [line for line in look(vram=tier).lines if line.field == "vram"]
    assert (line.level, line.text) == ("ok", f"VRAM {tier}: {DESCRIPTIONS[tier]}.")


def test_what_the_transformer_really_is_is_told(look, tmp_path):
    write_header(tmp_path / "models" / "pocket" / "flux.safetensors", "double_blocks.0.img_attn.qkv.weight")
    (line,) = [line for line in look().lines if line.field == "base_model"]
    assert "the transformer is FLUX.1 schnell in" in line.text

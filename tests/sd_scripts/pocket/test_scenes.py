"""Scenes are repeatable, and their captions describe them."""

import numpy as np

from pocket.scenes import COLORS, random_scene, shape_caption


def test_scene_of_same_seed_is_same():
    one, two = (random_scene(np.random.default_rng(5), 64) for _ in range(2))
    assert one.caption == two.caption
    assert np.array_equal(one.pixels, two.pixels)


def test_shape_caption_uses_right_article():
    assert shape_caption("yellow", "star", "purple") == "a yellow star on a purple background"
    assert shape_caption("orange", "ring", "orange") == "an orange ring on an orange background"
    assert shape_caption("blue", "heart", "red", "big ") == "a big blue heart on a red background"


def test_caption_names_colors_that_are_drawn():
    random = np.random.default_rng(0)
    for _ in range(50):
        scene = random_scene(random, 64)
        named = [np.array(COLORS[word]) for word in scene.caption.split() if word in COLORS]
        pixels = scene.pixels.reshape(-1, 3).astype(int)
        for color in named:
            assert (np.abs(pixels - color).max(1) < 40).mean() > 0.01, scene.caption

"""The measures return the known values of test images, and distinguish color from noise."""

import numpy as np
import pytest
import torch

from pocket.scenes import COLORS, SHAPES, Shape, draw_shape
from tests.support.pocket_measures import colors_seen, nearest_rms, num_nearest_to


@pytest.mark.parametrize("shape", SHAPES)
def test_color_measure_of_drawn_scenes_finds_their_colors(shape):
    random = np.random.default_rng(0)
    for _ in range(20):
        foreground, background = random.choice(list(COLORS), 2, replace=False)
        pixels = draw_shape(Shape(name=shape, radius=0.33, center=(0.5, 0.5), turn=0.1), foreground, background, 64)
        noisy = np.clip(pixels + random.normal(0, 8, pixels.shape), 0, 255).astype(np.uint8)
        assert colors_seen(noisy) == (background, foreground)


def test_color_measure_of_noise_rarely_matches():
    random = np.random.default_rng(0)
    seen = [colors_seen(random.integers(0, 256, (64, 64, 3), dtype=np.uint8)) for _ in range(50)]
    assert seen.count(("purple", "yellow")) <= 5


def test_nearest_neighbors_are_closest_images():
    wanted, others = torch.zeros(2, 3, 4), torch.full((3, 3, 4), 2.0)
    wanted[1] += 0.5
    samples = torch.stack([torch.full((3, 4), value) for value in (0.4, 1.9, -1.0)])
    assert torch.allclose(nearest_rms(samples, wanted), torch.tensor([0.1, 1.4, 1.0]))
    assert num_nearest_to(samples, wanted, others) == 2

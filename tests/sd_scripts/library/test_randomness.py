"""Draws can be repeated from a run's seed and the path of names and counters of the draw."""

import torch

from library.randomness import derived_seed, generator


def test_same_path_gives_same_random_numbers():
    assert torch.equal(torch.randn(5, generator=generator(42, "noise", 7, 0)), torch.randn(5, generator=generator(42, "noise", 7, 0)))


def test_different_paths_give_different_random_numbers():
    paths = [(42, "noise", 7, 0), (42, "noise", 7, 1), (42, "noise", 8, 0), (43, "noise", 7, 0), (42, "order", 7, 0), (42, "noise", 70)]
    assert len({derived_seed(*path) for path in paths}) == len(paths)


def test_seeds_stay_same_over_versions():
    assert derived_seed(42, "noise", 1, 0) == 819406935498838473  # half of the first 8 bytes of sha256("42/noise/1/0")

"""The schedule of the pretraining gives the rates of its two earlier formulas, to the bit."""

import math

import pytest

from pocket.schedule import cosine_with_warmup


@pytest.mark.parametrize(("floor", "rest"), [(0.01, 0.99), (0.02, 0.98)])
def test_schedule_at_each_step_equals_the_formula(floor, rest):
    for step in range(1000):
        expected = min(1.0, (step + 1) / 100) * (floor + rest * 0.5 * (1 + math.cos(math.pi * step / 1000)))
        assert cosine_with_warmup(step, 1000, floor=floor) == expected

"""How much of a large matrix of cases a test module runs: a part of it in `make test`, all of it in `make faults`."""

import os

FULL_MATRIX = "FLUXGYM_FULL_MATRIX"


def is_full_matrix() -> bool:
    """Return True if `make faults` runs the tests."""
    return FULL_MATRIX in os.environ

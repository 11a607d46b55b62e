"""The trainer's step of each VRAM tier on a CUDA device that computes nothing: memory, placement and work, of a small model."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.gpu.fake_cuda import build
from tests.gpu.fake_cuda.allocator import MIB, peak_reserved
from tests.gpu.fake_cuda.ledger import Ledger, flop

ROOT = Path(__file__).parents[2]
needs_shim = pytest.mark.skipif(build.missing() is not None, reason=str(build.missing()))
TIERS = ("24G", "16G", "12G", "8G")
DOUBLE_WEIGHTS, SINGLE_WEIGHTS = 24 * 256 * 256 + 12 * 256 * 256, 15 * 256 * 256  # numbers in the Linears of the small model's blocks


@pytest.fixture(name="rows", scope="module")
def fixture_rows():
    command = [sys.executable, "-m", "tests.gpu.fake_cuda", "--shapes", "small", "--resolutions", "64", "--text_tokens", "8"]
    done = subprocess.run([*command, "--tiers", *TIERS], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return {row["tier"]: row for row in map(json.loads, done.stdout.splitlines())}


@needs_shim
@pytest.mark.parametrize("tier", TIERS)
def test_step_of_tier_runs_everything_on_gpu(tier, rows):
    assert rows[tier]["misplaced"] == []
    assert rows[tier]["on_gpu"]
    assert rows[tier]["num_gradients"] > 0


@needs_shim
def test_resident_weights_of_each_tier_are_what_its_flags_leave_on_gpu(rows):
    weights = {tier: rows[tier]["weights"] for tier in TIERS}
    assert weights["24G"] > 1.85 * weights["16G"]  # bfloat16 beside float8 with scales
    assert weights["16G"] - weights["12G"] == pytest.approx(
        2 * DOUBLE_WEIGHTS + 5 * SINGLE_WEIGHTS, rel=0.02
    )  # 18 of 57 leaves one of each
    assert weights["8G"] == weights["12G"]


@needs_shim
@pytest.mark.parametrize("tier", TIERS)
def test_peak_of_tier_is_its_parts_and_little_more(tier, rows):
    row = rows[tier]
    parts = row["weights"] + row["lora"] + row["optimizer"] + row["gradients"]
    assert parts <= row["peak"] < parts + 12 * MIB
    assert row["peak"] <= row["reserved"] < row["peak"] + 24 * MIB


@needs_shim
def test_kernels_of_step_stay_within_their_budget(rows):
    budget = {"24G": 2700, "16G": 3000, "12G": 2600, "8G": 3200}
    assert {tier: rows[tier]["kernels"] for tier in TIERS if rows[tier]["kernels"] > budget[tier]} == {}


@needs_shim
def test_flop_of_step_do_not_depend_on_layout(rows):
    assert rows["24G"]["flop"] == rows["16G"]["flop"] == rows["8G"]["flop"] > 0


def test_peak_reserved_of_small_and_large_allocations_follows_segments():
    assert peak_reserved([("allocate", 1, 1)]) == 2 * MIB
    assert peak_reserved([("allocate", 1, 3 * MIB), ("allocate", 2, 3 * MIB)]) == 20 * MIB
    assert peak_reserved([("allocate", 1, 11 * MIB)]) == 12 * MIB


def test_peak_reserved_reuses_and_merges_what_is_freed():
    parts = [("allocate", key, 5 * MIB) for key in range(4)]
    freed = [("free", key, 5 * MIB) for key in range(4)]
    assert peak_reserved([*parts, *freed, ("allocate", 9, 20 * MIB)]) == 20 * MIB
    assert peak_reserved([*parts, freed[0], freed[2], ("allocate", 9, 10 * MIB)]) == 30 * MIB


def test_ledger_reports_product_on_cpu_as_misplaced():
    ledger, left = Ledger(), torch.ones(2, 3)
    with ledger:
        left @ left.t()  # while setting up, work on the CPU is allowed
        ledger.enter("forward")
        left @ left.t()
        left.view(3, 2)
        left.to(torch.bfloat16)
    assert len(ledger.misplaced) == 1
    assert ledger.misplaced[0].startswith("forward: aten.mm.default on ['cpu']")


def test_flop_of_products_and_attention_count_multiplications_and_additions():
    aten, q = torch.ops.aten, torch.empty(1, 2, 8, 16, device="meta")
    assert flop(aten.mm.default, (torch.empty(2, 3), torch.empty(3, 5))) == 2 * 2 * 3 * 5
    assert flop(aten.addmm.default, (torch.empty(5), torch.empty(2, 3), torch.empty(3, 5))) == 2 * 2 * 3 * 5
    assert flop(aten.bmm.default, (torch.empty(7, 2, 3), torch.empty(7, 3, 5))) == 7 * 2 * 2 * 3 * 5
    assert flop(aten._scaled_dot_product_flash_attention.default, (q, q, q)) == 2 * (2 * 2 * 8 * 8 * 16)
    assert flop(aten.add.Tensor, (q, q)) == 0

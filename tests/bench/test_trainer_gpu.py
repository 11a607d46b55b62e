"""Each tier's layout and step run as the bench runs them, on a CPU and with a small model; only the figures need a GPU."""

import pytest
import torch

from bench import trainer_gpu
from fluxgym.config.vram_tiers import TIERS

SMALL = trainer_gpu.DEV | {
    "context_dim": 32,
    "vec_dim": 16,
    "hidden_size": 128,
    "num_heads": 1,
    "mlp_dim": 256,
    "depth": 1,
    "depth_single_blocks": 2,
}


@pytest.mark.parametrize("tier", TIERS)
def test_step_of_tier_trains_its_lora(tier, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer_gpu, "TOKENS", 16)
    monkeypatch.setattr(trainer_gpu, "TEXT_TOKENS", 8)
    trainer_gpu.write_checkpoint(tmp_path / "flux.safetensors", SMALL)
    flux, network, optimizer = trainer_gpu.make_training(tier, tmp_path / "flux.safetensors", "cpu")
    before = [parameter.detach().clone() for parameter in network.parameters()]
    for _ in range(2):
        trainer_gpu.run_step(flux, network, optimizer, "cpu")
    assert any(not torch.equal(old, new) for old, new in zip(before, network.parameters(), strict=True))
    assert all(parameter.isfinite().all() for parameter in network.parameters())


def test_table_without_gpu_gives_reason_in_every_cell(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    figures = trainer_gpu.measure(1)
    assert len(figures) == 2 * len(TIERS)
    assert all(figure.ours is None and "no GPU" in figure.note for figure in figures)

"""Every tensor of diffusers' models is used, each exactly once; that the numbers come out is in test_flux_loading and test_autoencoder."""

from collections import Counter

import pytest
import torch

from library.models.flux1.layer_names import autoencoder_pieces, flux_pieces
from tests.support.diffusers_reference import VAE_PARAMS, autoencoder_in_diffusers, flux_in_diffusers, random_flux, random_vae


@pytest.mark.parametrize("guidance_embed", [True, False])
def test_flux_is_complete(guidance_embed):
    flux = random_flux(guidance_embed=guidance_embed)
    theirs = flux_in_diffusers(flux.state_dict(), flux.params).state_dict()
    pieces = flux_pieces(theirs)
    assert set(pieces) == set(flux.state_dict())
    assert Counter(part for piece in pieces.values() for part in piece.names) == Counter(theirs.keys())


def test_the_autoencoder_is_complete():
    ours = random_vae()
    pieces = autoencoder_pieces(autoencoder_in_diffusers(ours.state_dict(), VAE_PARAMS).state_dict())
    assert set(pieces) == set(ours.state_dict())


def test_bfls_own_names_need_no_table():
    with torch.no_grad():
        assert flux_pieces(random_flux(guidance_embed=True).state_dict()) == {}
        assert autoencoder_pieces(random_vae().state_dict()) == {}

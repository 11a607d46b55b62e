"""On a CPU, float8's rounding is kept and its casts are not."""

import torch

from library.flux_math import image_ids, text_ids
from library.host_weights import cast_float8_once
from library.offload import store_in_float8
from tests.support.tiny_models import make_flux


@torch.no_grad()
def test_weights_cast_once_compute_the_same_bits():
    flux = make_flux().to(torch.bfloat16)
    store_in_float8(flux, torch.bfloat16)
    random = torch.Generator().manual_seed(4)
    img, txt, y = (torch.randn(shape, generator=random).bfloat16() for shape in ((1, 8, 64), (1, 5, 32), (1, 64)))
    inputs = img, image_ids(1, 4, 8), txt, text_ids(1, 5), torch.tensor([0.3]), y, torch.tensor([1.0])
    with torch.autocast("cpu", torch.bfloat16):
        before = flux(*inputs)
        cast_float8_once(flux, torch.bfloat16)
        after = flux(*inputs)
    assert torch.equal(before, after)
    assert {parameter.dtype for parameter in flux.parameters()} == {torch.bfloat16}


def test_no_tensor_is_left_in_the_mapped_file():
    flux = make_flux().to(torch.bfloat16)
    mapped = [parameter.data for parameter in flux.parameters()]  # held, so that their memory is not used again
    store_in_float8(flux, torch.bfloat16)
    cast_float8_once(flux, torch.bfloat16)
    assert not {tensor.data_ptr() for tensor in mapped} & {parameter.data_ptr() for parameter in flux.parameters()}

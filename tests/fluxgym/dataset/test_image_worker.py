"""Thumbnails are upright and look like what is trained on."""

import io

import numpy as np
import pytest
from PIL import Image

from fluxgym.dataset.image_worker import make_thumbnail


def test_thumbnail_of_every_mode_is_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for mode in ("L", "P", "1", "RGBA", "I;16"):
        image = Image.fromarray(np.zeros((200, 400), np.uint16)) if mode == "I;16" else Image.new("RGB", (400, 200)).convert(mode)
        image.save(tmp_path / "a.png", exif=exif)
        reply, _ = make_thumbnail(tmp_path / "a.png", 20)
        assert (mode, reply.width, reply.height) == (mode, 10, 20)


@pytest.mark.parametrize("mode", ["I;16", "RGBA", "CMYK", "P", "1"])
def test_thumbnail_equals_trained_image(mode, tmp_path):
    gray = Image.new("L", (40, 20), 128)
    image = {
        "I;16": Image.fromarray(np.full((20, 40), 128 * 257, np.uint16)), "RGBA": Image.new("RGBA", (40, 20), (0, 0, 0, 127)),
        "1": gray.convert("1"), "P": gray.convert("P"), "CMYK": Image.new("CMYK", (40, 20), (127, 127, 127, 0)),
    }[mode]  # fmt: skip
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    image.save(path)
    reply, data = make_thumbnail(path, 10)
    with Image.open(io.BytesIO(data)) as small:
        assert (reply.width, reply.height, len(data)) == (*small.size, reply.num_bytes) == (10, 5, reply.num_bytes)
        assert abs(np.asarray(small.convert("L"), int).mean() - 128) < 12

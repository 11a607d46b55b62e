"""The example dataset: eight crops of the cat photo that scikit-image bundles (chelsea, public domain), with captions."""

from pathlib import Path

TRIGGER = "sks cat"
CROPS = (
    (95, 0, 395, 300, "face"), (60, 20, 330, 290, "face, from the left"), (130, 10, 400, 280, "face, from the right"),
    (100, 0, 360, 260, "eyes and ears"), (110, 40, 370, 300, "nose and whiskers"), (40, 0, 340, 300, "portrait"),
    (140, 0, 440, 300, "portrait, ear"), (90, 30, 350, 290, "close-up"),
)  # fmt: skip
NUM_IMAGES = len(CROPS)


def write_example(folder: Path) -> None:
    """Write the images and captions into a folder."""
    from PIL import Image
    from skimage import data  # loads slowly

    folder.mkdir(parents=True, exist_ok=True)
    photo = Image.fromarray(data.chelsea())  # type: ignore[no-untyped-call]
    for index, (left, top, right, bottom, words) in enumerate(CROPS, 1):
        photo.crop((left, top, right, bottom)).save(folder / f"cat-{index}.png")
        (folder / f"cat-{index}.txt").write_text(f"{TRIGGER}, {words}\n", encoding="utf-8")

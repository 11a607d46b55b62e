"""Synthetic scenes with captions, the training images of the pocket model.

Scenes depend only on the random generator: the same seed gives the same images.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

COLORS = {
    "red": (214, 40, 40),
    "orange": (244, 140, 30),
    "yellow": (250, 215, 50),
    "green": (50, 160, 70),
    "blue": (45, 95, 215),
    "purple": (130, 60, 175),
    "pink": (245, 130, 180),
    "brown": (125, 80, 45),
    "black": (25, 25, 28),
    "white": (245, 245, 242),
}
SHAPES = ("circle", "square", "triangle", "star", "heart", "diamond", "ring", "cross")
SIZES = {"": 0.33, "small ": 0.20, "big ": 0.42}
PATTERNS = ("horizontal stripes", "vertical stripes", "a checkerboard", "a gradient")
OVERSAMPLING = 4


@dataclass(frozen=True)
class Scene:
    """An image (H, W, 3) uint8 and its caption."""

    pixels: np.ndarray
    caption: str


def shape_caption(foreground: str, shape: str, background: str, size: str = "") -> str:
    """Return the caption of a shape, for example "a big yellow star on a purple background"."""
    article = "an" if (size + foreground)[0] in "aeiou" else "a"
    return f"{article} {size}{foreground} {shape} on a {background} background".replace("on a orange", "on an orange")


@dataclass(frozen=True, kw_only=True)
class Shape:
    """An outline of SHAPES; radius and center are fractions of the image size, turn is in radians."""

    name: str
    radius: float
    center: tuple[float, float]
    turn: float


def draw_shape(shape: Shape, foreground: str, background: str, size: int) -> np.ndarray:
    """Draw one shape -> (size, size, 3) uint8."""
    radius, center = shape.radius, shape.center
    canvas = Image.new("RGB", (size * OVERSAMPLING,) * 2, COLORS[background])
    pen = ImageDraw.Draw(canvas)
    points = [
        ((x * radius + center[0]) * canvas.width, (y * radius + center[1]) * canvas.height) for x, y in outline(shape.name, shape.turn)
    ]
    pen.polygon(points, fill=COLORS[foreground])
    if shape.name == "ring":
        hole = [
            ((x * radius * 0.55 + center[0]) * canvas.width, (y * radius * 0.55 + center[1]) * canvas.height)
            for x, y in outline("circle", 0)
        ]
        pen.polygon(hole, fill=COLORS[background])
    return np.asarray(canvas.resize((size, size), Image.Resampling.BOX))


def outline(shape: str, turn: float) -> list[tuple[float, float]]:
    """Return the corners of a shape around the origin, about in the unit circle, rotated by `turn` radians."""
    if shape in ("circle", "ring"):
        corners = _ring(64, lambda _: 1.0)
    elif shape == "square":
        corners = [(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)]
    elif shape == "triangle":
        corners = _ring(3, lambda _: 1.1)
    elif shape == "star":
        corners = _ring(10, lambda i: 1.1 if i % 2 == 0 else 0.45)
    elif shape == "diamond":
        corners = [(0, -1.15), (0.75, 0), (0, 1.15), (-0.75, 0)]
    elif shape == "cross":
        a, b = 1.0, 0.34
        corners = [(-b, -a), (b, -a), (b, -b), (a, -b), (a, b), (b, b), (b, a), (-b, a), (-b, b), (-a, b), (-a, -b), (-b, -b)]
    else:
        corners = [_heart(2 * math.pi * i / 64) for i in range(64)]
    cos, sin = math.cos(turn), math.sin(turn)
    return [(x * cos - y * sin, x * sin + y * cos) for x, y in corners]


def _ring(count: int, radius: Callable[[int], float]) -> list[tuple[float, float]]:
    angles = [2 * math.pi * i / count - math.pi / 2 for i in range(count)]
    return [(radius(i) * math.cos(a), radius(i) * math.sin(a)) for i, a in enumerate(angles)]


def _heart(t: float) -> tuple[float, float]:
    x = 16 * math.sin(t) ** 3
    y = -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t))
    return x / 16, y / 16


def random_shape(random: np.random.Generator, size: int) -> Scene:
    """Draw a random shape on a background of another color."""
    foreground, background = random.choice(list(COLORS), 2, replace=False)
    name, words = random.choice(SHAPES), random.choice(list(SIZES), p=[0.6, 0.2, 0.2])
    radius = SIZES[words] * random.uniform(0.92, 1.08)
    center = tuple(random.uniform(0.5 - (0.48 - radius) * 0.5, 0.5 + (0.48 - radius) * 0.5, 2))
    shape = Shape(name=name, radius=radius, center=center, turn=random.uniform(-0.15, 0.15))
    return Scene(draw_shape(shape, foreground, background, size), shape_caption(foreground, name, background, words))


def random_pattern(random: np.random.Generator, size: int) -> Scene:
    """Draw random stripes, a checkerboard or a gradient of two colors."""
    one, two = random.choice(list(COLORS), 2, replace=False)
    kind = random.choice(PATTERNS)
    down, right = np.mgrid[0:size, 0:size]
    bands = int(random.integers(2, 5))
    phase = random.uniform(0, 1)
    stripe_down, stripe_right = (np.floor(pixel / size * bands * 2 + phase) % 2 for pixel in (down, right))
    share = {
        "horizontal stripes": stripe_down,
        "vertical stripes": stripe_right,
        "a checkerboard": (stripe_down + stripe_right) % 2,
        "a gradient": down / (size - 1),
    }[kind][..., None]
    pixels = (1 - share) * np.array(COLORS[one]) + share * np.array(COLORS[two])
    return Scene(pixels.astype(np.uint8), f"{kind} of {one} and {two}")


def random_scene(random: np.random.Generator, size: int) -> Scene:
    """Draw a random shape (with probability 0.8) or pattern."""
    return random_shape(random, size) if random.random() < 0.8 else random_pattern(random, size)

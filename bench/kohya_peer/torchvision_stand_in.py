"""The two image transforms that kohya's trainer calls, where torchvision has no build for the installed torch."""

import importlib.machinery
import sys
import types

import numpy as np
import torch


class Compose:
    """Apply callables one after the other."""

    def __init__(self, steps):
        self.steps = steps

    def __call__(self, image):
        """Return the last one's result."""
        for step in self.steps:
            image = step(image)
        return image


class ToTensor:
    """Image (H, W, C) in 0..255 -> tensor (C, H, W) in 0..1."""

    def __call__(self, image):
        """Convert one image."""
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


class Normalize:
    """Subtract the mean, divide by the deviation."""

    def __init__(self, mean, std):
        self.mean, self.std = mean[0], std[0]

    def __call__(self, pixels):
        """Normalize one tensor."""
        return (pixels - self.mean) / self.std


def install() -> None:
    """Put the stand-in where `from torchvision import transforms` finds it."""
    package, transforms = types.ModuleType("torchvision"), types.ModuleType("torchvision.transforms")
    transforms.Compose, transforms.ToTensor, transforms.Normalize = Compose, ToTensor, Normalize
    package.transforms, package.__version__ = transforms, "0"
    for module in (package, transforms):
        module.__spec__ = importlib.machinery.ModuleSpec(module.__name__, None)
        sys.modules[module.__name__] = module

"""The bucket function of a checkout of kohya-ss/sd-scripts, without importing the checkout's torch and diffusers.

The class BucketManager and the function make_bucket_resolutions are taken out of the checkout's sources and run unchanged.
"""

import ast
import math
import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from fluxgym.contract.buckets import BucketRule, Fit, Size


def kohya_fit(checkout: Path, rule: BucketRule) -> Callable[[Size], Fit]:
    """Return kohya's bucket of an image size for a rule with buckets; it divides by zero for an image without a bucket."""
    sizes = _definition(checkout / "library/model_util.py", "make_bucket_resolutions")
    names = {"model_util": SimpleNamespace(make_bucket_resolutions=sizes)}
    manager = _definition(checkout / "library/train_util.py", "BucketManager", names)(
        rule.no_upscale, rule.resolution, rule.low, rule.high, rule.step
    )
    if not rule.no_upscale:
        manager.make_buckets()

    def fit(image: Size) -> Fit:
        bucket, resized, _ = manager.select_bucket(*image)
        return Fit(bucket, resized)

    return fit


def _definition(path: Path, name: str, names: dict[str, Any] | None = None) -> Any:
    """Return a class or function of a source file, which may use `names`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = [node for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name]
    space: dict[str, Any] = {"math": math, "np": np, "random": random, "Tuple": tuple} | (names or {})
    exec(compile(ast.Module(nodes, []), str(path), "exec"), space)
    return space[name]

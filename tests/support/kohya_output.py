"""Lines that kohya's trainer prints, for tests."""

import io

from tqdm import tqdm

ATTEMPT_LINE = b"== attempt 1 of run x, 2026-01-01 12:00:00 =="
FIRST_LINES = (
    ATTEMPT_LINE,
    "running training / 学習開始".encode(),
    "  num batches per epoch / 1epochのバッチ数: 10".encode(),
    "  gradient accumulation steps / 勾配を合計するステップ数 = 1".encode(),
    "  total optimization steps / 学習ステップ数: 40".encode(),
    b"steps:   0%|          | 0/40 [00:00<?, ?it/s]",
)


def progress_bar(step: int, total: int = 40, rate: float = 1.25, **postfix: object) -> bytes:
    """Return the bar that tqdm prints at a step, at `rate` seconds per step."""
    bar = tqdm(total=total, desc="steps", file=io.StringIO(), initial=0, smoothing=0)
    bar.set_postfix(**postfix)
    state = bar.format_dict | {"n": step, "elapsed": step * rate}
    return tqdm.format_meter(**state).encode()

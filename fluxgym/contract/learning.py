"""Settings with which a training completes although it learns nothing, or is likely to: one table for the form, the checks and the trainer.

The limits are far from any value in use. A LoRA's weights grow by about the learning rate per step, to about 0.01 for an effect that can be
seen; MAX_STEPS steps of the smallest accepted rate reach 1e-5.
"""

from collections.abc import Iterator, Mapping
from typing import Any

ESTIMATE_THEIR_RATE = ("prodigy", "dadapt")  # the starts of the names of such optimizers
RATES = ("learning_rate", "unet_lr", "text_encoder_lr")
DROPOUTS = ("network_dropout", "rank_dropout", "module_dropout")
# 0 switches these settings off. A value between 0 and its limit reduces each step to almost nothing: the optimizer's first moment (its eps
# is 1e-8), the norm of the weights, or the effect of the LoRA.
LEAST: Mapping[str, float] = dict.fromkeys(RATES, 1e-12) | {"max_grad_norm": 1e-9, "scale_weight_norms": 1e-6, "network_alpha": 1e-9}
LOW: Mapping[str, float] = dict.fromkeys(RATES, 1e-7) | {"max_grad_norm": 1e-6, "scale_weight_norms": 1e-2}
LOW_SCALE = 1e-4  # of alpha / rank
HIGH_RATE = 0.1
HIGH_DROPOUT = 0.9
LOW_HUBER = 1e-4  # of huber_c * huber_scale, which limits the gradient
USUAL = dict.fromkeys(RATES, "such as 1e-4") | {
    "max_grad_norm": "such as 1",
    "scale_weight_norms": "such as 1",
    "network_alpha": "such as 1",
}


def learns_nothing(name: str, value: Any) -> str:
    """Return why a training with this value of a setting learns nothing, as the end of a sentence after the value; "" if it does not."""
    least = LEAST.get(name)
    if least is None or not _is_number(value) or not 0 < value < least:
        return ""
    return f"is so small that nothing would be learned; it must be at least {least:g}, {USUAL[name]}"


def learns_little(values: Mapping[str, Any]) -> Iterator[tuple[str, Any, str]]:
    """Yield (name, value, end of a sentence) for each setting with which a training is likely to learn nothing, or to diverge.

    The names are those of kohya's flags, of --network_args, and of data sets; missing names count as off. Of several rates, the lowest is
    checked for too small ones, the highest for too large ones.
    """
    numbers = {name: min(found) for name, value in values.items() if (found := _positive(value))}
    for name, low in LOW.items():
        if LEAST[name] <= numbers.get(name, low) < low:
            yield name, numbers[name], f"is so small that the training is likely to learn nothing; use a larger one, {USUAL[name]}"
    for name in DROPOUTS:
        if HIGH_DROPOUT < (rate := numbers.get(name, 0)) < 1:
            yield name, rate, f"leaves {1 - rate:.2g} of what each step would learn; use a lower one, such as 0.1"
    alpha, rank = numbers.get("network_alpha"), numbers.get("network_dim")
    if alpha and rank and LEAST["network_alpha"] <= alpha < rank * LOW_SCALE:
        yield "network_alpha", alpha, f"scales a LoRA of rank {rank} by {alpha / rank:.2g}, so that it is likely to have no effect"
    if values.get("loss_type") in ("huber", "smooth_l1"):
        limit = numbers.get("huber_c", 0.1) * numbers.get("huber_scale", 1.0)
        if limit < LOW_HUBER:
            yield (
                "huber_c",
                numbers.get("huber_c", 0.1),
                f"limits gradients to {limit:.2g}, so that the training is likely to learn nothing",
            )
    yield from _without_captions(numbers)
    if not _sets_its_own_rate(values):
        highest = {name: max(found) for name in RATES if (found := _positive(values.get(name)))}
        why = "is so large that training will very likely diverge; use a lower one, such as 1e-4"
        yield from ((name, rate, why) for name, rate in highest.items() if rate > HIGH_RATE)


def _without_captions(numbers: Mapping[str, Any]) -> Iterator[tuple[str, Any, str]]:
    why = "leaves out every caption, so that no word is learned, not even the trigger word"
    if numbers.get("caption_dropout_rate", 0) >= 1:
        yield "caption_dropout_rate", numbers["caption_dropout_rate"], why
    if numbers.get("caption_dropout_every_n_epochs") == 1:
        yield "caption_dropout_every_n_epochs", 1, why
    if numbers.get("caption_tag_dropout_rate", 0) >= 1 and not numbers.get("keep_tokens"):
        yield "caption_tag_dropout_rate", numbers["caption_tag_dropout_rate"], why


def _sets_its_own_rate(values: Mapping[str, Any]) -> bool:
    """Return True if the optimizer estimates or sets the learning rate itself, so that the given one is a factor around 1, or not used."""
    optimizer = str(values.get("optimizer_type") or "").lower().rpartition(".")[2]
    if optimizer.startswith(ESTIMATE_THEIR_RATE):
        return True
    arguments = values.get("optimizer_args")
    options = dict(str(each).partition("=")[::2] for each in (arguments if isinstance(arguments, (list, tuple)) else ()))
    return optimizer == "adafactor" and (options.get("relative_step", "True") != "False" or options.get("warmup_init", "False") != "False")


def _positive(value: Any) -> list[float]:
    """Return the numbers above 0 of a value, which may be a list."""
    return [each for each in (value if isinstance(value, (list, tuple)) else [value]) if _is_number(each) and each > 0]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)

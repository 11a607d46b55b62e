"""The plan warns beside the field with which a training is likely to learn nothing, and refuses what teaches nothing at all."""

import pytest

from fluxgym.planning.plan import Planner
from tests.support.photos import write_cats
from tests.support.small_installation import small_installation, state


@pytest.fixture(name="problems")
def fixture_problems(tmp_path):
    world, images = small_installation(tmp_path), write_cats(tmp_path / "images")

    def problems(level, **changes):
        planned = Planner(world).plan_unchecked(state(**changes), images)
        return [(problem.field, problem.message) for problem in planned.problems if problem.level == level]

    return problems


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"learning_rate": "1e-9"}, "learning_rate", "Learning rate 1e-9 is so small"),
        ({"learning_rate": "5"}, "learning_rate", "Learning rate 5 is so large that training will very likely diverge; use a lower one"),
        ({"learning_rate": "1", "vram": "12G"}, "learning_rate", "Learning rate 1 is so large"),
        ({"advanced": {"unet_lr": 10}}, "advanced", "unet_lr 10 is so large"),
        ({"advanced": {"text_encoder_lr": [1e-4, 1.0]}}, "advanced", "text_encoder_lr 1.0 is so large"),
        ({"advanced": {"network_alpha": 1e-5}}, "network_alpha", "LoRA alpha 1e-05 scales a LoRA of rank"),
        ({"advanced": {"network_dropout": 0.999}}, "advanced", "network_dropout 0.999 leaves 0.001 of what each step would learn"),
        ({"advanced": {"network_args": ["module_dropout=0.99"]}}, "advanced", "module_dropout 0.99 leaves 0.01"),
        ({"advanced": {"caption_dropout_rate": 1.0}}, "advanced", "caption_dropout_rate 1.0 leaves out every caption"),
        ({"advanced": {"text_encoder_lr": [0, 1e-9]}}, "advanced", "text_encoder_lr 1e-09 is so small"),
    ],
)
def test_what_likely_teaches_nothing_is_warning_beside_its_field(problems, changes, field, words):
    found = [message for where, message in problems("warning", **changes) if where == field]
    assert any(message.startswith(words) for message in found), found
    assert not problems("error", **changes)


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"learning_rate": "1e-45"}, "learning_rate", "Learning rate must be a number from 1e-12 to 10, such as 8e-4, not “1e-45”."),
        ({"advanced": {"network_alpha": 1e-30}}, "network_alpha", "LoRA alpha 1e-30 is so small that nothing would be learned"),
        ({"advanced": {"unet_lr": 11}}, "advanced", "The advanced setting “unet_lr” must be at most 10, not 11."),
        ({"advanced": {"text_encoder_lr": [11]}}, "advanced", "The advanced setting “text_encoder_lr” must be at most 10, not 11."),
        ({"advanced": {"unet_lr": 1e-45}}, "advanced", "The advanced setting “unet_lr” 1e-45 is so small that nothing would be learned"),
        ({"advanced": {"text_encoder_lr": [1e-45]}}, "advanced", "The advanced setting “text_encoder_lr” 1e-45 is so small"),
        ({"advanced": {"max_grad_norm": 1e-30}}, "advanced", "The advanced setting “max_grad_norm” 1e-30 is so small"),
    ],
)
def test_what_teaches_nothing_is_error_beside_its_field(problems, changes, field, words):
    assert [message for where, message in problems("error", **changes) if where == field and message.startswith(words)]


def test_dropout_that_is_refused_gets_no_warning(problems):
    found = problems("warning", learning_rate="5", advanced={"network_dropout": 1.5})  # the trainer refuses it
    assert [field for field, message in found if "large" in message or "dropout" in message] == ["learning_rate"]


def test_usual_settings_give_no_warning(problems):
    assert not [message for _, message in problems("warning") if "learn" in message]


@pytest.mark.parametrize("number", [10**9, 10**30])
@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("train_batch_size", "Batch size"),
        ("save_every_n_steps", "Save every N steps"),
        ("sample_every_n_steps", "Sample image every N steps"),
    ],
)
def test_huge_number_is_refused_by_its_label(problems, name, label, number):
    changes = {name: number} if name == "sample_every_n_steps" else {"advanced": {name: number}}
    ((field, message),) = problems("error", **changes)
    assert (field, message.startswith(f"{label} must be ")) == (name, True)
    assert name not in message


def test_control_characters_are_refused_by_label(problems):
    for name, label in (("concept_sentence", "Trigger word/sentence"), ("sample_prompts", "Sample image prompts (one per line)")):
        assert problems("error", **{name: "a\x07b"}) == [
            (name, f"{label} holds the control character U+0007, which cannot be seen; delete it, or type the text again.")
        ]
    for name in ("caption_prefix", "caption_suffix"):
        assert problems("error", advanced={name: "a\x1bb"})[0][1].startswith(
            f"The advanced setting “{name}” holds the control character U+001B"
        )

"""Lines that kohya's trainer prints become phase, step, epoch and loss; other lines change nothing."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxgym.contract.codes import Phase
from fluxgym.trainers.kohya.output import KohyaOutput, SavedState
from tests.support.kohya_output import ATTEMPT_LINE, FIRST_LINES, progress_bar


def heard(*lines):
    output = KohyaOutput()
    for line in lines:
        output.feed_line(line)
    return output


@pytest.mark.parametrize(
    ("line", "phase"),
    [
        (b"                    INFO     preparing accelerator                  train_network.py:593", "loading"),
        (b"2026-02-16 08:07:29 INFO     Loading state dict from               flux_utils.py:124", "loading"),
        (b"                    INFO     caching latents with caching       train_util.py:1120", "caching"),
        (b"                    INFO     caching Text Encoder outputs with  train_util.py:1306", "caching"),
        (b"import network module: networks.lora_flux", "loading"),
        (b"                    INFO     generating sample images at    flux_train_utils.py:61", "sampling"),
        (b"saving checkpoint: /outputs/cat/cat-000004.safetensors", "saving"),
        (b"                    INFO     saving state at epoch 4            train_util.py:5942", "saving"),
        (b"                    INFO     model saved.                       train_network.py:1729", "done"),
    ],
)
def test_line_sets_phase(line, phase):
    assert heard(ATTEMPT_LINE, line).phase == phase


def test_progress_bar_gives_step_loss_and_speed():
    output = heard(*FIRST_LINES, b"epoch 1/4", progress_bar(7, avr_loss=0.4567))
    assert output.fields() == {"phase": "training", "step": 7, "total_steps": 40, "epoch": 1, "loss": 0.457, "s_per_it": 1.25}
    output.feed_line(progress_bar(20, rate=0.1, avr_loss=1e-5))
    assert (output.step, output.loss, output.s_per_it) == (20, 1e-5, 0.1)


def test_loss_of_nan_is_left_out():
    output = heard(*FIRST_LINES, b"epoch 1/4", progress_bar(7, avr_loss=float("nan")))
    assert "loss" not in output.fields()
    assert output.step == 7


def test_resumed_bar_begins_at_zero_but_steps_continue():
    output = heard(*FIRST_LINES)
    assert output.step == 0
    output.feed_line(b"epoch 3/4")
    assert output.step == 20
    output.feed_line(progress_bar(5, avr_loss=0.1))
    assert (output.step, output.epoch) == (25, 3)
    output.feed_line(b"epoch 4/4")
    output.feed_line(progress_bar(20, avr_loss=0.1))
    assert output.step == 40


def test_gradient_accumulation_shortens_epochs():
    lines = [line.replace(b"= 1", b"= 3") for line in FIRST_LINES]
    assert heard(*lines, b"epoch 2/4").step == 4  # ten batches are four steps


def test_progress_bar_of_images_gives_item():
    output = heard(ATTEMPT_LINE, b"INFO caching latents...", b" 25%|##5       | 1/4 [00:00<00:02,  1.31it/s]")
    assert output.fields() == {"phase": "caching", "step": 0, "item": 1, "num_items": 4}
    output.feed_line(b"INFO model loading: Loading state dict from x")
    assert "item" not in output.fields()


def test_bar_that_is_drawn_once_more_at_end_changes_nothing():
    output = heard(*FIRST_LINES, b"epoch 4/4", progress_bar(10, avr_loss=1), b"INFO model saved.", progress_bar(10, avr_loss=1))
    assert output.phase == "done"


def test_saved_state_has_its_step_and_epoch():
    output = heard(*FIRST_LINES, b"epoch 3/4", progress_bar(10, avr_loss=1), b"INFO  saving state at epoch 3")
    output.feed_line(b"epoch 4/4")
    output.feed_line(b"INFO  saving state at step 13")
    output.feed_line(progress_bar(20, avr_loss=1))
    output.feed_line(b"INFO  saving last state.")
    expected = [
        SavedState("-000003", 30, 3, 40), SavedState("-step00000013", 33, 3, 40), SavedState("", 40, 4, 40),
    ]  # fmt: skip
    assert output.saved == expected


def test_new_attempt_begins_from_nothing():
    for header in (ATTEMPT_LINE, progress_bar(8, avr_loss=1) + ATTEMPT_LINE):  # a trainer that was killed leaves its bar's line open
        output = heard(*FIRST_LINES, b"epoch 1/4", progress_bar(7, avr_loss=1), header)
        assert output.fields() == {"phase": "loading", "step": 0}


@given(
    st.lists(
        st.binary(max_size=60)
        | st.sampled_from([*FIRST_LINES, b"epoch 9/0", b"epoch 0/4", progress_bar(50), b"steps: 1%|| 9/0 [?, 0s/it]"])
    )
)
def test_parser_accepts_any_output(lines):
    output = heard(*lines)
    assert output.fields()["phase"] in set(Phase)


@pytest.mark.parametrize("line", [b"steps: 1%|| 9/9 [" + b"a," * 4000, b"steps: " * 1000, b"epoch " + b"9" * 8000 + b"/4", b"1%|" * 2700])
def test_hostile_lines_are_parsed_in_linear_time(line):
    began = time.perf_counter()
    heard(*FIRST_LINES, b"INFO caching latents", line)
    assert time.perf_counter() - began < 0.2

"""What the form says: warnings beside their field, the time, what a model lacks, and what is not known while an answer is under way."""

import re

import pytest
from playwright.sync_api import expect

from tests.support.page import HOLD_ANSWER, drop_files, open_page


def test_a_sample_interval_that_draws_nothing_is_said_beside_its_field_and_does_not_prevent_start(app, page):
    open_page(page, app)
    page.locator("#fg-example").click()
    expect(page.locator("#fg-expected-steps")).to_have_text("320 steps")
    page.get_by_label("Sample image every N steps").fill("400")
    warning = page.locator("#field-sample_every_n_steps .fg-warning")
    expect(warning).to_have_text("No sample image is drawn during the training, which has 320 steps. Enter 320 or less.")
    assert "field-sample_every_n_steps-warning" in page.get_by_label("Sample image every N steps").get_attribute("aria-describedby").split()
    expect(page.locator("#start")).not_to_have_attribute("aria-disabled", "true")
    page.get_by_label("Sample image every N steps").fill("80")
    expect(warning).to_have_count(0)


def test_the_time_is_only_named_if_it_is_known(app, page):
    open_page(page, app)
    page.locator("#fg-example").click()
    expect(page.locator("#fg-time")).to_have_text("not known yet")
    expect(page.locator(".three")).to_contain_text("The time is not known before the first steps")


def test_no_problem_about_images_is_shown_while_an_upload_is_not_answered(app, page, cats):
    open_page(page, app)
    page.get_by_label("LoRA name").fill("cat")
    expect(page.locator(".fg-problems")).to_have_text(re.compile("Add at least one image."))
    page.evaluate(HOLD_ANSWER, "images")
    drop_files(page, {path.name: path.read_bytes() for path in cats})
    expect(page.locator(".fg-image")).to_have_count(8)
    page.wait_for_function("Boolean(window.release)")
    expect(page.locator("#fg-formula")).to_have_text("Counting the images…")
    assert "Add at least one image" not in page.locator(".three").text_content()
    expect(page.locator("#start")).not_to_have_attribute("aria-disabled", "true")
    page.evaluate("window.release()")
    expect(page.locator("#fg-formula")).to_contain_text("8 images")


def test_every_figure_has_digits_of_one_width(app, page, running):
    for fragment in ("#train", "#runs", "#run/my-cat"):
        page.goto(f"{app.url}{fragment}")
        expect(page.locator("#fg-banner .sum")).to_contain_text("1 running")
        odd = page.evaluate("""[...document.querySelectorAll("#fg-app *")].filter((element) => element.checkVisibility()
          && [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && /\\d/.test(node.nodeValue))
          && getComputedStyle(element).fontVariantNumeric !== "tabular-nums").map((element) => element.outerHTML)""")
        assert odd == []


@pytest.mark.parametrize("width", [390, 1440])
def test_files_that_a_model_lacks_are_a_list_with_sizes_and_links(app, page, width):
    page.set_viewport_size({"width": width, "height": 900})
    open_page(page, app)
    page.locator("#field-base_model input").click()
    page.get_by_role("option", name="FLUX.1 schnell", exact=True).click()
    files = page.locator("#field-base_model").get_by_role("listitem")
    expect(files).to_have_count(6)
    expect(files.first).to_contain_text("unet/flux1-schnell.safetensors, 23.8 GB")
    expect(files.first.get_by_role("link")).to_have_attribute("href", "https://huggingface.co/black-forest-labs/FLUX.1-schnell")
    described = page.locator("#field-base_model input").get_attribute("aria-describedby").split()
    assert page.locator("#field-base_model ul").get_attribute("id") in described
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 1
    page.locator("#field-base_model input").click()
    page.get_by_role("option", name="Pocket Flux").click()
    expect(files).to_have_count(0)


def test_unusual_settings_are_checked_by_the_trainer_while_the_form_answers(app, page):
    open_page(page, app)
    page.locator("#fg-example").click()
    expect(page.locator("#fg-expected-steps")).to_have_text("320 steps")
    page.get_by_role("button", name="Advanced", exact=True).click()
    checking = page.get_by_text("The trainer is checking the advanced settings…")
    flags = page.locator("#field-other_flags textarea")
    flags.fill("optimizer_type = nosuch")
    expect(checking).to_be_visible()
    expect(page.locator("#field-other_flags .fg-error")).to_contain_text("nosuch is not an optimizer")
    expect(checking).to_be_hidden()
    flags.fill("optimizer_type = AdamW")
    expect(page.locator("#field-other_flags .fg-error")).to_have_count(0)
    expect(checking).to_be_hidden()
    expect(page.locator("#start")).not_to_have_attribute("aria-disabled", "true")
    flags.fill("optimizer_type = nosuch2")
    page.locator("#start").click()
    expect(page.locator("#field-other_flags .fg-error")).to_contain_text("nosuch2 is not an optimizer")

"""What the form shows before Start: what a model lacks, the trainer's own checks, and Start in view."""

import pytest
from playwright.sync_api import expect

from tests.support.page import drop_files, open_page
from tests.support.photos import write_cats
from tests.support.runs import make_run


@pytest.mark.parametrize("width", [390, 1440])
def test_files_that_model_lacks_are_list_with_sizes_and_links(app, page, width):
    page.set_viewport_size({"width": width, "height": 900})
    open_page(page, app)
    page.locator("#field-base_model input").click()
    page.get_by_role("option", name="FLUX.1 schnell", exact=True).click()
    files = page.locator("#field-base_model").get_by_role("listitem")
    expect(files).to_have_count(6)
    expect(files.first).to_contain_text("unet/flux1-schnell.safetensors, 23.8 GB")
    expect(files.first.get_by_role("link")).to_have_attribute("href", "https://huggingface.co/black-forest-labs/FLUX.1-schnell")
    described = page.locator("#field-base_model input").get_attribute("aria-describedby").split()
    assert page.locator("#field-base_model .fg-details").get_attribute("id") in described
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 1
    page.locator("#field-base_model input").click()
    page.get_by_role("option", name="Pocket Flux").click()
    expect(files).to_have_count(0)


def is_clickable(page, selector):
    """Return True if a tap at the middle of an element that is whole in the window reaches it."""
    return page.evaluate(
        """(selector) => {
          const element = document.querySelector(selector);
          const { top, bottom, left, right } = element.getBoundingClientRect();
          const isInside = top >= 0 && left >= 0 && bottom <= innerHeight && right <= innerWidth;
          return isInside && element.contains(document.elementFromPoint((left + right) / 2, (top + bottom) / 2));
        }""",
        selector,
    )


def test_start_is_in_view_below_banner_of_nine_ended_runs(app, page):
    for number, status in enumerate(("failed", "stopped", "completed") * 3):
        make_run(app.outputs, f"{status}-{number}", status=status, reason="Loss is NaN." * (status == "failed"), timestamp=1000.0 + number)
    open_page(page, app)
    rows = page.locator("#fg-banner li.row")
    expect(rows).to_have_count(3)
    assert is_clickable(page, "#start")
    page.get_by_role("button", name="Active Training Sessions").click()
    expect(rows).to_have_count(9)
    page.evaluate("document.querySelector('#fg-train').scrollIntoView()")
    assert is_clickable(page, "#start")


def test_start_is_in_view_on_phone_with_sixty_images(app, page, tmp_path):
    page.set_viewport_size({"width": 390, "height": 844})
    open_page(page, app)
    photos = sorted(write_cats(tmp_path / "sixty", count=60, size=64).glob("*.png"))
    drop_files(page, {path.name: path.read_bytes() for path in photos})
    expect(page.locator("#fg-images")).to_contain_text("60 images")
    page.get_by_label("LoRA name").fill("my cat")
    expect(page.locator(".startbar")).to_contain_text("2,400 steps")
    for where in (0, 0.5, 1):
        page.evaluate("(where) => scrollTo({ top: where * document.documentElement.scrollHeight, behavior: 'instant' })", where)
        assert is_clickable(page, ".startbar button"), where


def test_unusual_settings_are_checked_by_trainer_while_form_answers(app, page):
    open_page(page, app)
    page.locator("#fg-example").click()
    expect(page.locator("#fg-expected-steps")).to_have_text("320 steps")
    page.get_by_role("button", name="Advanced", exact=True).click()
    checking = page.get_by_text("Images and settings are being checked…")
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

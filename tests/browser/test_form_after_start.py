"""The Train page after Start, and what takes an action on the whole form back."""

import re

from playwright.sync_api import expect

from tests.support.page import App, open_page
from tests.support.runs import make_run


def test_form_shows_the_started_run_with_its_present_checks_and_all_images(app: App, page):
    make_run(app.outputs, "other", timestamp=1, max_train_epochs=9)
    open_page(page, app)
    page.get_by_role("button", name="More for this form").click()
    page.get_by_role("menuitem", name="New training").click()
    expect(page.get_by_label("LoRA name")).to_have_value("")
    page.locator("#fg-example").click()
    expect(page.locator(".fg-image")).to_have_count(8)
    page.get_by_label("Filter images").select_option("no_caption")
    expect(page.locator(".fg-nothing")).to_be_visible()
    page.locator("#start").click()
    expect(page).to_have_url(re.compile("#run/example-cat$"))
    page.evaluate("location.hash = '#train'")
    expect(page.locator(".fg-image")).to_have_count(8)
    expect(page.get_by_label("Filter images")).to_have_value("")
    expect(page.locator("#field-lora_name .fg-note")).to_contain_text("example-cat exists already.")
    page.evaluate("location.hash = '#run/other'")
    expect(page.get_by_role("heading", name="other")).to_be_visible()
    page.evaluate("location.hash = '#train'")
    page.reload()
    expect(page.get_by_label("LoRA name")).to_have_value("example-cat")
    page.wait_for_timeout(1500)
    expect(page.locator(".fg-draft")).to_have_text("")


def test_template_is_taken_back_with_undo(app: App, page):
    open_page(page, app)
    epochs = page.get_by_label("Max train epochs")
    epochs.fill("7")
    page.get_by_role("button", name="More for this form").click()
    page.get_by_role("menuitem", name="Save as template…").click()
    page.get_by_label("Name of the template").fill("Faces")
    page.get_by_role("dialog").get_by_role("button", name="Save as template").click()
    expect(page.locator(".toast", has_text="Saved as the template Faces.")).to_be_visible()
    epochs.fill("33")
    page.get_by_role("button", name="More for this form").click()
    page.get_by_role("menuitem", name="Apply a template…").click()
    page.get_by_role("dialog").get_by_role("button", name="Apply").click()
    applied = page.locator(".toast", has_text="Applied the template Faces.")
    expect(epochs).to_have_value("7")
    applied.get_by_role("button", name="Undo").click()
    expect(epochs).to_have_value("33")

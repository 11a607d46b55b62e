"""What the form shows before Start: warnings at their field, the duration, and no image problems during an upload."""

import re

from playwright.sync_api import expect

from tests.support.page import HOLD_ANSWER, drop_files, open_page


def test_sample_interval_without_samples_shows_warning_and_allows_start(app, page):
    open_page(page, app)
    page.locator("#fg-example").click()
    expect(page.locator("#fg-expected-steps")).to_have_text("320 steps")
    page.get_by_label("Sample image every N steps").fill("400")
    warning = page.locator("#field-sample_every_n_steps .fg-warning")
    expect(warning).to_have_text("No sample image is drawn during the training, which has 320 steps. Enter a number from 1 to 320.")
    assert "field-sample_every_n_steps-warning" in page.get_by_label("Sample image every N steps").get_attribute("aria-describedby").split()
    expect(page.locator("#start")).not_to_have_attribute("aria-disabled", "true")
    page.get_by_label("Sample image every N steps").fill("80")
    expect(warning).to_have_count(0)


def test_duration_estimate_is_shown_only_if_known(app, page):
    open_page(page, app)
    page.locator("#fg-example").click()
    expect(page.locator("#fg-time")).to_have_text("not known yet")
    expect(page.locator(".three")).to_contain_text("The time is not known before the first steps")


def test_image_problems_are_hidden_until_upload_response_arrives(app, page, cats):
    open_page(page, app)
    page.get_by_label("LoRA name").fill("cat")
    expect(page.locator(".fg-problems")).to_have_text(re.compile("Add at least one image."))
    page.evaluate(HOLD_ANSWER, ["images", "check"])
    drop_files(page, {path.name: path.read_bytes() for path in cats})
    expect(page.locator(".fg-image")).to_have_count(8)
    page.wait_for_function("Boolean(window.release)")
    expect(page.locator("#fg-formula")).to_have_text("Counting the images…")
    assert "Add at least one image" not in page.locator(".three").text_content()
    expect(page.locator("#start")).not_to_have_attribute("aria-disabled", "true")
    page.evaluate("window.release()")
    expect(page.locator("#fg-formula")).to_contain_text("8 images")


def test_edit_sent_during_form_patch_is_sent_again_with_patch(app, page):
    open_page(page, app)
    page.evaluate(HOLD_ANSWER, ["images"])
    page.locator("#fg-example").click()
    page.wait_for_function("Boolean(window.release)")
    with page.expect_response(lambda answer: '"kind":"typed"' in (answer.request.post_data or "")):
        page.get_by_label("Repeat trains per image").fill("7")  # without the name that the held answer brings
    page.evaluate("window.release()")
    expect(page.get_by_label("LoRA name")).to_have_value("example-cat")
    expect(page.locator(".fg-problems li")).to_have_count(0)
    expect(page.locator("#fg-recipe [data-part=command]")).to_contain_text("--output_name example-cat")
    page.wait_for_function("localStorage.getItem('fluxgym.unsent') === null")
    page.reload()
    expect(page.get_by_label("LoRA name")).to_have_value("example-cat")
    expect(page.get_by_label("Repeat trains per image")).to_have_value("7")


def test_figures_use_tabular_digits(app, page, running):
    for fragment in ("#train", "#runs", "#run/my-cat"):
        page.goto(f"{app.url}{fragment}")
        expect(page.locator("#fg-banner .sum")).to_contain_text("1 running")
        odd = page.evaluate("""[...document.querySelectorAll("#fg-app *")].filter((element) => element.checkVisibility()
          && [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && /\\d/.test(node.nodeValue))
          && getComputedStyle(element).fontVariantNumeric !== "tabular-nums").map((element) => element.outerHTML)""")
        assert odd == []

"""The layout in a real browser: nothing moves while the page loads or images are sent, and nothing is covered or scrolls on its own."""

import re

import pytest
from playwright.sync_api import Route, expect

from fluxgym.models.catalog import list_models
from tests.support.page import open_page
from tests.support.runs import make_run

SHIFTS = """window.shifts = 0;
new PerformanceObserver((list) => list.getEntries().forEach((entry) => { if (!entry.hadRecentInput) window.shifts += entry.value; }))
  .observe({ type: "layout-shift", buffered: true });"""


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("fragment", ["#train", "#runs", "#run/cat"])
def test_nothing_moves_while_the_page_loads(app, page, width, fragment):
    for name in ("cat", "dog", "owl"):
        make_run(app.outputs, name, status="failed", reason="The GPU ran out of memory.", timestamp=1)
    page.add_init_script(SHIFTS)
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(app.url + fragment)
    expect(page.locator("html[data-fg-shown][data-fg-form]")).to_be_attached()
    expect(page.locator("#fg-banner li.row").first).to_be_visible()
    expect(page.locator({"#train": "#field-lora_name", "#runs": "#runs", "#run/cat": ".fg-run-head"}[fragment])).to_be_visible()
    assert page.evaluate("window.shifts") < 0.1


def test_a_page_whose_parts_do_not_answer_is_shown_after_a_while(app, page):
    page.route("**/fluxgym/api/**", lambda route: route.abort())
    page.goto(app.url)
    expect(page.get_by_label("LoRA name")).to_be_visible()


def test_no_image_moves_while_others_are_uploaded(app, page, cats):
    open_page(page, app)
    page.locator("#fg-file").set_input_files(cats[:4])
    expect(page.locator(".fg-image")).to_have_count(4)
    grid = page.locator(".fg-gallery")
    before = grid.bounding_box()
    held: list[Route] = []
    page.route(re.compile(r"/drafts/[^/]+/images/[^/?]+\?edit="), lambda route: held.append(route))
    page.locator("#fg-file").set_input_files(cats[4:5])
    expect(page.locator(".fg-uploading")).to_have_text("Uploading: 0 of 1")
    assert grid.bounding_box() == before
    held[0].continue_()
    expect(page.locator(".fg-image")).to_have_count(5)
    assert grid.bounding_box()["y"] == before["y"]


@pytest.mark.parametrize("height", [720, 900])
def test_the_train_card_has_no_scroll_area_of_its_own_and_can_be_seen_whole(app, page, height):
    page.set_viewport_size({"width": 1440, "height": height})
    open_page(page, app)
    page.locator("#advanced button").first.click()  # the page is longer than the window
    for fold in page.locator(".three summary").all():
        if fold.is_visible():
            fold.click()
    column = page.locator(".steps > .three")
    assert column.evaluate("(element) => getComputedStyle(element).overflowY") == "visible"
    page.evaluate("window.scrollTo(0, document.body.scrollHeight / 2)")
    box = column.bounding_box()
    assert box["y"] + box["height"] <= height


def test_the_bar_with_start_covers_nothing_at_the_end_of_the_page(app, page):
    page.set_viewport_size({"width": 390, "height": 844})
    open_page(page, app)
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    column, bar = page.locator(".steps > .three").bounding_box(), page.locator(".startbar").bounding_box()
    assert column["y"] + column["height"] <= bar["y"]
    assert page.evaluate("parseFloat(getComputedStyle(document.documentElement).scrollPaddingBottom)") >= bar["height"]


@pytest.mark.parametrize("width", [390, 1440])
def test_longest_base_model_is_shown_completely(app, page, width):
    page.set_viewport_size({"width": width, "height": 900})
    open_page(page, app)
    field = page.locator("#field-base_model input")
    expect(field).to_have_value(max((model.title for model in list_models(app.models)), key=len))
    assert field.evaluate("input => input.scrollWidth <= input.clientWidth")


def test_tools_of_advanced_do_not_overlap_on_a_phone(app, page):
    make_run(app.outputs, "cat", status="stopped", base_model="pocket", seed=7, workers=3)
    page.set_viewport_size({"width": 390, "height": 844})
    open_page(page, app)
    page.get_by_role("button", name="Advanced", exact=True).click()
    expect(page.get_by_role("button", name="to default")).to_be_visible()
    for part in page.locator(".fg-adv-tools > *").all():
        assert part.evaluate("part => part.scrollWidth <= part.clientWidth && part.getBoundingClientRect().right <= innerWidth")


def test_check_of_images_leads_to_the_image_list(app, page):
    open_page(page, app)
    page.locator("#fg-example").click()
    expect(page.locator("#fg-expected-steps")).to_be_visible()
    page.get_by_label("Resize dataset images").fill("512")
    page.locator(".fg-problems").get_by_role("button", name="will be enlarged").click()
    expect(page.locator(".fg-gallery")).to_be_focused()

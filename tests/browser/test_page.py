"""The page in a real browser: it makes no request to other hosts, fits every width, shows errors at their fields, and keeps typed values."""

import re
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from tests.support.page import App, drop_files, open_page
from tests.support.runs import make_run

HOSTILE = '<img src=x onerror="window.hurt=1">${window.hurt=2}{{value}}'


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440, 2560])
def test_page_at_every_width_fits_and_requests_no_other_host(app, page, width, theme):
    slug = "a-very-long-name-" * 3
    make_run(app.outputs, slug, status="failed", reason="The GPU ran out of memory " * 6, timestamp=1)
    wrong: list[str] = []
    page.on("console", lambda message: message.type == "error" and wrong.append(message.text))
    page.on("response", lambda answer: answer.status >= 400 and wrong.append(answer.url))
    page.on("request", lambda request: urlsplit(request.url).hostname in ("127.0.0.1", None) or wrong.append(request.url))
    page.set_viewport_size({"width": width, "height": 900})
    open_page(page, app, f"?__theme={theme}")
    expect(page.locator("#fg-banner li.row")).to_have_count(1)
    for fragment in ("#train", "#runs", "#run"):
        page.goto(f"{app.url}?__theme={theme}{fragment}")
        expect(page.locator(".nav a[aria-current]")).to_have_text("Train" if fragment == "#train" else "Runs")
        assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 1
    assert wrong == []


def press_start(page):
    """Press Start, also while it is blocked, which Playwright would wait for."""
    page.locator("#start").click(force=True)


def test_form_errors_appear_beside_their_fields_and_keep_input(app, page):
    open_page(page, app)
    page.get_by_label("LoRA name").fill("../../x")
    page.get_by_label("Max train epochs").fill("0")
    page.get_by_label("Trigger word/sentence").fill("sks cat")
    press_start(page)
    expect(page.locator("#field-lora_name .fg-error")).to_contain_text("slash")
    expect(page.locator("#field-max_train_epochs .fg-error")).to_contain_text("“0”")
    expect(page.locator(".fg-problems")).to_contain_text("Add at least one image.")
    expect(page.locator("#start")).to_have_attribute("aria-disabled", "true")
    expect(page.locator(".fg-why")).to_have_text("Fix 3 things")
    expect(page.get_by_label("LoRA name")).to_be_focused()
    expect(page.get_by_label("Trigger word/sentence")).to_have_value("sks cat")
    page.get_by_label("LoRA name").fill("my cat")
    expect(page.locator("#field-lora_name .fg-error")).to_have_count(0)


def test_form_error_in_closed_advanced_card_opens_it(app, page):
    open_page(page, app)
    page.locator("#fg-example").click()
    expect(page.locator("#fg-expected-steps")).to_have_text("320 steps")
    advanced = page.get_by_role("button", name="Advanced", exact=True)
    advanced.click()
    page.get_by_label("Learning rate", exact=True).fill("abc")
    expect(page.locator("#field-learning_rate .fg-error")).to_contain_text("abc")
    page.get_by_label("Search settings").fill("alpha")
    expect(page.get_by_label("Learning rate", exact=True)).to_be_hidden()
    advanced.click()
    expect(page.get_by_label("LoRA alpha")).to_be_hidden()
    page.get_by_role("button", name="Fix 1 setting").click()
    expect(page.get_by_label("Learning rate", exact=True)).to_be_focused()


def test_advanced_is_searched_and_shows_and_resets_what_was_changed(app, page):
    open_page(page, app)
    page.get_by_role("button", name="Advanced", exact=True).click()
    fields = page.locator("#advanced .fg-field:visible")
    page.get_by_label("Search settings").fill("network_alpha")  # a flag
    expect(fields).to_have_count(1)
    page.get_by_label("Search settings").fill("larger file")  # a meaning
    expect(fields).to_have_count(1)
    page.get_by_label("LoRA rank").fill("7")
    expect(page.locator("#field-network_dim .fg-default")).to_have_text(" · default: 16")
    expect(page.locator(".fg-chips")).to_contain_text("LoRA rank: 7")
    page.get_by_label("Search settings").fill("")
    page.get_by_label("Changed only").check()
    expect(fields).to_have_count(1)
    page.get_by_role("button", name="Reset 1 to default").click()
    expect(page.locator(".fg-chips")).to_have_text("All at this model’s defaults")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".fg-chips")).to_contain_text("LoRA rank: 7")
    page.get_by_label("Changed only").uncheck()
    expect(page.get_by_label("LoRA rank")).to_have_value("7")
    page.get_by_role("button", name=re.compile("^Network")).click()
    expect(fields).to_have_count(2)


def test_reload_keeps_captions_and_form_values(app, page):
    open_page(page, app)
    page.locator("#fg-example").click()
    expect(page.locator(".fg-image")).to_have_count(8)
    with page.expect_response(lambda answer: answer.request.method == "PATCH" and answer.ok):
        page.get_by_label("Caption of cat-3.png").fill("sks cat, asleep")
    page.get_by_label("LoRA name").fill("draft")
    page.get_by_label("Sample image prompts").fill("one\ntwo")
    expect(page.locator("#fg-recipe [data-part=command]")).to_contain_text("--output_name draft")
    page.wait_for_function("localStorage.getItem('fluxgym.unsent') === null")
    page.reload()
    expect(page.get_by_label("LoRA name")).to_have_value("draft")
    expect(page.get_by_label("Sample image prompts")).to_have_value("one\ntwo")
    expect(page.get_by_label("Caption of cat-3.png")).to_have_value("sks cat, asleep")


def test_example_button_makes_form_ready_to_start(app, page):
    open_page(page, app)
    page.locator("#fg-example").click()
    expect(page.get_by_label("LoRA name")).to_have_value("example-cat")
    expect(page.get_by_label("Trigger word/sentence")).to_have_value("sks cat")
    expect(page.locator(".fg-problems li")).to_have_count(0)
    expect(page.locator("#fg-formula")).to_contain_text("8 images × 10 repeats × 32 epochs")
    expect(page.locator(".fg-error")).to_have_count(0)


def test_page_that_is_opened_again_fetches_its_scripts_in_one_file_and_not_again(app, page):
    open_page(page, app)
    page.reload()
    expect(page.locator(".fg-lines li").first).to_be_attached()
    sizes = page.evaluate(
        "performance.getEntriesByType('resource').filter((e) => e.name.includes('/fluxgym/assets/')).map((e) => e.transferSize)"
    )
    assert sizes == [0]


def test_values_typed_while_app_is_down_are_restored(app, page):
    open_page(page, app)
    page.get_by_label("LoRA name").fill("before")
    expect(page.locator("html[data-fg-draft=typed]")).to_be_attached()
    app.kill()
    expect(page.locator(".fg-connection")).to_be_visible()
    page.get_by_label("LoRA name").fill("typed while away")
    page.wait_for_function("(localStorage.getItem('fluxgym.unsent') ?? '').includes('typed while away')")
    app.start()
    page.reload()
    expect(page.get_by_label("LoRA name")).to_have_value("typed while away")


def test_typed_text_is_never_rendered_as_html(app, page, cats):
    make_run(
        app.outputs,
        "hostile",
        lora_name=HOSTILE,
        concept_sentence=HOSTILE,
        sample_prompts=HOSTILE,
        status="failed",
        reason=HOSTILE,
        timestamp=1,
    )
    (app.outputs / "hostile" / "training.log").write_text(HOSTILE)
    open_page(page, app)
    expect(page.locator("#fg-banner li.row .name")).to_have_text(HOSTILE)
    expect(page.locator("#fg-banner li.row .fg-reason")).to_have_text(HOSTILE)
    expect(page.get_by_label("Trigger word/sentence")).to_have_value(HOSTILE)
    drop_files(page, {"<b>x.png": cats[0].read_bytes(), "<b>x.txt": HOSTILE.encode()})
    expect(page.locator(".fg-image textarea")).to_have_value(HOSTILE)
    page.goto(f"{app.url}#run/hostile")
    expect(page.get_by_label("The last lines of training.log")).to_contain_text("onerror")
    expect(page.locator("#fg-run-page .fg-reason:visible")).to_have_text(HOSTILE)
    assert page.evaluate("window.hurt") is None


def test_model_choice_fills_unchanged_fields_and_names_missing_files(app, page):
    open_page(page, app)
    page.get_by_label("Max train epochs").fill("5")
    expect(page.locator("html[data-fg-draft=typed]")).to_be_attached()
    page.locator("#field-base_model input").click()
    page.get_by_role("option", name="FLUX.1 dev", exact=True).click()
    expect(page.get_by_label("Resize dataset images")).to_have_value("512")
    expect(page.get_by_label("Max train epochs")).to_have_value("5")
    expect(page.locator("#field-base_model .fg-error")).to_contain_text("FLUX.1 dev lacks the FLUX transformer")


def test_start_with_existing_name_asks_for_choice(app, page):
    make_run(app.outputs, "my-cat", status="completed", timestamp=1)
    open_page(page, app)
    page.locator("#fg-example").click()
    expect(page.locator(".fg-image")).to_have_count(8)
    page.get_by_label("LoRA name").fill("My Cat")
    page.locator("#field-base_model input").click()
    page.get_by_role("option", name=re.compile("Pocket")).click()
    expect(page.locator("#fg-expected-steps")).to_contain_text("steps")
    press_start(page)
    expect(page.locator(".fg-choice")).to_contain_text("exists already")
    expect(page.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator(".fg-choice")).to_be_hidden()
    assert [path.name for path in app.outputs.iterdir() if not path.name.startswith(".")] == ["my-cat"]


def test_refreshed_sessions_follow_files(app, page):
    open_page(page, app)
    title = page.get_by_role("button", name="Active Training Sessions")
    expect(title).to_have_text("🔄 Active Training Sessions")
    expect(page.locator("#fg-banner .sum")).to_contain_text("No active training sessions found")
    make_run(app.outputs, "cat", status="stopped", timestamp=1706140800.0, max_train_epochs=12, enable_checkpointing=True)
    page.get_by_role("button", name="Refresh Sessions").click()
    expect(page.locator("#fg-banner .sum")).to_have_text("1 run, none active")
    title.click()
    row = page.locator("#fg-banner li.row")
    expect(row).to_contain_text("🔵")
    expect(row).to_contain_text("Epochs: 12")
    expect(row).to_contain_text("Checkpointing: ✅")
    expect(row).to_contain_text("Monitoring: –❌")
    expect(row).to_contain_text("Started: 2024-01-2")
    (app.outputs / "cat" / "ui_state.json").unlink()
    page.get_by_role("button", name="Refresh Sessions").click()
    expect(row).to_have_count(0)


def test_token_login_lasts_across_reloads(tmp_path, tiny_models, context):
    app = App(tmp_path, tiny_models, "--token", "the right one")
    try:
        page = context.new_page()
        page.goto(app.url)
        page.get_by_label("Token").fill("a wrong one")
        page.get_by_role("button", name="Open FluxGym").click()
        expect(page.get_by_role("alert")).to_have_text("That is not the token.")
        page.get_by_label("Token").fill("the right one")
        page.get_by_role("button", name="Open FluxGym").click()
        expect(page.locator(".fg-lines li").first).to_be_attached()
        page.reload()
        expect(page.locator(".fg-lines li").first).to_be_attached()
    finally:
        app.kill()


def test_empty_areas_show_placeholder_text(app, page):
    open_page(page, app)
    expect(page.locator("#fg-banner .sum")).to_have_text("No active training sessions found. Each training that you start appears here.")
    expect(page.locator(".fg-tips")).to_contain_text("What works well")
    expect(page.locator(".fg-welcome")).to_be_visible()
    page.goto(f"{app.url}#run")
    expect(page.locator(".fg-run-none")).to_contain_text("to see it here")
    assert page.locator(".fg-run-none").evaluate("(card) => parseFloat(getComputedStyle(card).paddingLeft)") >= 16
    make_run(app.outputs, "cat", status="stopped", timestamp=1)
    expect(page.locator("#fg-banner .sum")).to_have_text("1 run, none active")


def test_check_level_is_icon_with_word(app, page):
    open_page(page, app)
    expect(page.locator(".fg-line-error .vh").first).to_have_text("Error: ")
    expect(page.locator(".fg-line-ok .vh").first).to_have_text("Ready: ")
    colors = [page.locator(f".fg-line-{level} .i").first.evaluate("(icon) => getComputedStyle(icon).color") for level in ("ok", "error")]
    assert len(set(colors)) == 2


@pytest.mark.parametrize("width", [390, 1179])
def test_start_is_fixed_bar_on_small_screens(app, page, width):
    page.set_viewport_size({"width": width, "height": 800})
    open_page(page, app)
    bar = page.locator(".startbar")
    expect(bar).to_be_in_viewport()
    expect(bar).to_contain_text("Fix 2 things")
    bar.get_by_role("button", name="Start training").click(force=True)
    expect(page.get_by_label("LoRA name")).to_be_focused()


# The parts of the form that are drawn over the navigation or the start bar while the page is scrolled from its top to its end.
DRAWN_OVER = """async () => {
  const found = new Set();
  for (let y = 0; y < document.documentElement.scrollHeight; y += 12) {
    scrollTo({ top: y, behavior: "instant" });
    for (const bar of document.querySelectorAll("header.top, .startbar")) {
      const { top, bottom } = bar.getBoundingClientRect();
      for (let x = 8; x < innerWidth - 24; x += 24) {
        const element = document.elementFromPoint(x, (top + bottom) / 2);
        if (element && !bar.contains(element) && element.closest(".fg-field, .card")) found.add(element.textContent.trim().slice(0, 40));
      }
    }
  }
  return [...found];
}"""


@pytest.mark.parametrize("width", [390, 1440])
def test_no_part_of_form_is_drawn_over_navigation_or_start_bar(app, page, width):
    page.set_viewport_size({"width": width, "height": 700})
    open_page(page, app)
    assert page.evaluate(DRAWN_OVER) == []


def test_start_names_runs_that_are_ahead(app, page):
    def busy(route):
        answer = route.fetch()
        counts = {"running": 1, "queued": 2, "attention": 0, "total": 3}
        route.fulfill(json=answer.json() | {"counts": counts} if answer.status == 200 else None, status=answer.status)

    page.route("**/fluxgym/api/banner*", busy)
    open_page(page, app)
    page.locator("#fg-example").click()
    expect(page.locator("#start")).to_have_text("Start after 3 runs")
    expect(page.locator(".fg-why")).to_contain_text("2 more wait before yours")


def choose_in_form_menu(page, item):
    """Choose an item of the menu of step 1."""
    page.get_by_role("button", name="More for this form").click()
    page.get_by_role("menuitem", name=item).click()


def test_templates_are_saved_applied_and_deleted_in_menu_of_form(app, page):
    open_page(page, app)
    page.get_by_label("LoRA name").fill("dog")
    page.get_by_label("Max train epochs").fill("7")
    choose_in_form_menu(page, "Save as template…")
    page.get_by_label("Name of the template").fill("Seven")
    with page.expect_response("**/fluxgym/api/templates"):  # the menu knows it now
        page.get_by_role("dialog").get_by_role("button", name="Save as template").click()
    expect(page.get_by_text("Saved as the template Seven.")).to_be_visible()
    page.get_by_label("Max train epochs").fill("3")
    choose_in_form_menu(page, "Save as template…")
    page.get_by_label("Name of the template").fill("Seven")
    page.get_by_role("dialog").get_by_role("button", name="Save as template").click()
    expect(page.get_by_role("dialog")).to_contain_text("If it is replaced, its settings are lost.")
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    choose_in_form_menu(page, "Apply a template…")
    page.get_by_role("dialog").get_by_role("button", name="Apply").click()
    expect(page.get_by_label("Max train epochs")).to_have_value("7")
    expect(page.get_by_label("LoRA name")).to_have_value("dog")
    choose_in_form_menu(page, "Delete a template…")
    with page.expect_response("**/fluxgym/api/templates"):
        page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="More for this form").click()
    expect(page.get_by_role("menuitem")).to_have_text(["New training", "Save as template…"])


def test_start_stays_in_view_while_page_scrolls_and_below_full_banner(app, page):
    for number in range(4):
        make_run(app.outputs, f"broken-{number}", status="failed", reason="Loss is NaN.", timestamp=1000.0 + number)
    open_page(page, app)
    expect(page.locator("#fg-banner li.row")).to_have_count(3)
    box = page.locator("#start").bounding_box()
    assert box["y"] + box["height"] < 900
    page.get_by_role("button", name="Advanced", exact=True).click()
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    expect(page.locator("#start")).to_be_in_viewport()
    expect(page.get_by_role("navigation", name="Main")).to_be_in_viewport()


def test_icons_are_drawn_without_request(app, page):
    fetched = []
    page.on("request", lambda request: fetched.append(request.url) if request.url.endswith("icons.svg") else None)
    open_page(page, app)
    expect(page.locator("#fg-banner header svg.i").first).to_be_visible()
    page.wait_for_function("document.querySelector('#fg-banner header svg.i').getBBox().width > 0")
    assert fetched == []


def test_tab_that_goes_to_page_of_another_app_shows_it(app, tmp_path, tiny_models, page):
    (tmp_path / "other").mkdir()
    other = App(tmp_path / "other", tiny_models)
    try:
        open_page(page, app)
        open_page(page, other)
        expect(page.locator("#fg-banner .sum")).to_contain_text("No active training sessions found")
    finally:
        other.kill()

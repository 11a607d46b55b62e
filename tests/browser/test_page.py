"""The page in a real browser: it stays at home, fits every width, says what is wrong where it is wrong, and loses nothing that was typed."""

import re
from base64 import b64encode
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from tests.support.page import App, drop_files, open_page
from tests.support.runs import make_run

HOSTILE = '<img src=x onerror="window.hurt=1">${window.hurt=2}{{value}}'

DROP_FOLDERS = """(files) => {
  const bytes = (content) => Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
  const entry = ([path, content]) => ({
    isFile: true, name: path.split("/").pop(), fullPath: `/${path}`, file: (resolve) => resolve(new File([bytes(content)], path.split("/").pop())),
  });
  const event = new DragEvent("drop", { bubbles: true, cancelable: true });
  Object.defineProperty(event, "dataTransfer", { value: {
    items: Object.entries(files).map((file) => ({ webkitGetAsEntry: () => entry(file) })), files: [],
  } });
  document.querySelector(".fg-drop").dispatchEvent(event);
}"""


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440, 2560])
def test_page_at_every_width_fits_and_requests_no_other_host(app, page, width, theme):
    make_run(app.outputs, "a-very-long-name-" * 3, status="failed", reason="The GPU ran out of memory " * 6, timestamp=1)
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


def test_form_errors_appear_beside_their_fields_and_clear_nothing(app, page):
    open_page(page, app)
    page.get_by_label("The name of your LoRA").fill("../../x")
    page.get_by_label("Max Train Epochs").fill("0")
    page.get_by_label("Trigger word/sentence").fill("sks cat")
    page.locator("#start").click()
    expect(page.locator("#field-lora_name .fg-error")).to_contain_text("slash")
    expect(page.locator("#field-max_train_epochs .fg-error")).to_contain_text("“0”")
    expect(page.locator(".fg-lines")).to_contain_text("no images")
    expect(page.get_by_label("The name of your LoRA")).to_be_focused()
    expect(page.get_by_label("Trigger word/sentence")).to_have_value("sks cat")
    expect(page.locator("#fg-notices summary")).to_be_visible()
    page.get_by_label("The name of your LoRA").fill("my cat")
    expect(page.locator("#field-lora_name .fg-error")).to_have_count(0)


def test_form_error_in_a_closed_section_opens_it(app, page):
    open_page(page, app)
    page.get_by_label("The name of your LoRA").fill("cat")
    page.get_by_role("button", name="Advanced options").click()
    expect(page.get_by_label("Learning Rate")).not_to_have_value("")  # Gradio fills what unfolds a moment after it is there
    page.get_by_label("Learning Rate").fill("abc")
    expect(page.locator("#field-learning_rate .fg-error")).to_contain_text("abc")
    page.get_by_role("button", name="Advanced options").click()
    expect(page.get_by_label("Learning Rate")).to_be_hidden()
    page.locator("#start").click()
    expect(page.get_by_label("Learning Rate")).to_be_focused()


def test_dropped_captions_are_matched_to_images_by_name(app, page, cats):
    open_page(page, app)
    files = {
        "b.png": cats[0].read_bytes(),
        "a.png": cats[1].read_bytes(),
        "b.txt": b"caption of b",
        "fake.png": b"only text",
        "ünï.png": cats[2].read_bytes(),
    }
    drop_files(page, files)
    expect(page.locator(".fg-image")).to_have_count(3)
    expect(page.get_by_label("Caption of b.png")).to_have_value("caption of b")
    expect(page.get_by_label("Caption of a.png")).to_have_value("")
    expect(page.locator(".fg-errors")).to_contain_text("fake.png is not an image")
    drop_files(page, {"a.txt": b"later"})
    expect(page.get_by_label("Caption of a.png")).to_have_value("later")
    page.get_by_role("button", name="Remove b.png").click()
    expect(page.locator(".fg-image")).to_have_count(2)


def test_dropped_folders_with_equal_image_names_keep_both_images(app, page, cats):
    open_page(page, app)
    folders = {f"{letter}/{name}": content for letter, number in (("a", 0), ("b", 1)) for name, content in (
        ("cat.png", cats[number].read_bytes()), ("cat.txt", f"caption of {letter}".encode()),
    )}  # fmt: skip
    page.evaluate(DROP_FOLDERS, {path: b64encode(content).decode() for path, content in folders.items()})
    expect(page.locator(".fg-image")).to_have_count(2)
    expect(page.get_by_label("Caption of cat.png")).to_have_value("caption of a")
    expect(page.get_by_label("Caption of cat-2.png")).to_have_value("caption of b")


def test_reload_keeps_captions_and_form_values(app, page):
    open_page(page, app)
    page.locator("#fg-example").click()
    expect(page.locator(".fg-image")).to_have_count(8)
    page.get_by_label("Caption of cat-3.png").fill("sks cat, asleep")
    expect(page.locator(".fg-saved", has_text="Saved")).to_have_count(1)
    page.get_by_label("The name of your LoRA").fill("draft")
    page.get_by_label("Sample Image Prompts").fill("one\ntwo")
    expect(page.locator("#fg-recipe [data-part=command]")).to_contain_text("--output_name draft")
    page.wait_for_function("localStorage.getItem('fluxgym.unsent') === null")
    page.reload()
    expect(page.get_by_label("The name of your LoRA")).to_have_value("draft")
    expect(page.get_by_label("Sample Image Prompts")).to_have_value("one\ntwo")
    expect(page.get_by_label("Caption of cat-3.png")).to_have_value("sks cat, asleep")


def test_example_button_makes_the_form_ready_to_start(app, page):
    open_page(page, app)
    page.locator("#fg-example").click()
    expect(page.get_by_label("The name of your LoRA")).to_have_value("example-cat")
    expect(page.get_by_label("Trigger word/sentence")).to_have_value("sks cat")
    expect(page.locator(".fg-lines")).not_to_contain_text("no images")
    expect(page.locator(".fg-error")).to_have_count(0)


def test_values_typed_while_the_app_is_down_are_restored(app, page):
    open_page(page, app)
    page.get_by_label("The name of your LoRA").fill("before")
    expect(page.locator("html[data-fg-draft=typed]")).to_be_attached()
    app.kill()
    expect(page.locator(".fg-connection")).to_be_visible()
    page.get_by_label("The name of your LoRA").fill("typed while away")
    page.wait_for_function("(localStorage.getItem('fluxgym.unsent') ?? '').includes('typed while away')")
    app.start()
    page.reload()
    expect(page.get_by_label("The name of your LoRA")).to_have_value("typed while away")


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
    expect(page.locator(".fg-log")).to_contain_text("onerror")
    expect(page.locator(".fg-run-head .fg-reason")).to_have_text(HOSTILE)
    assert page.evaluate("window.hurt") is None


def test_model_choice_fills_unchanged_fields_and_names_missing_files(app, page):
    open_page(page, app)
    page.get_by_label("Max Train Epochs").fill("5")
    expect(page.locator("html[data-fg-draft=typed]")).to_be_attached()
    page.locator("#field-base_model input").click()
    page.get_by_role("option", name="FLUX.1 dev", exact=True).click()
    expect(page.get_by_label("Resize dataset images")).to_have_value("512")
    expect(page.get_by_label("Max Train Epochs")).to_have_value("5")
    expect(page.locator("#field-base_model .fg-error")).to_contain_text("missing")


def test_start_with_a_taken_name_asks_for_a_choice(app, page):
    make_run(app.outputs, "my-cat", status="completed", timestamp=1)
    open_page(page, app)
    page.locator("#fg-example").click()
    expect(page.locator(".fg-image")).to_have_count(8)
    page.get_by_label("The name of your LoRA").fill("My Cat")
    page.locator("#field-base_model input").click()
    page.get_by_role("option", name=re.compile("Pocket")).click()
    expect(page.locator("#fg-expected-steps")).to_contain_text("steps")
    page.locator("#start").click()
    expect(page.locator(".fg-choice")).to_contain_text("exists already")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".fg-choice")).to_be_hidden()
    assert [path.name for path in app.outputs.iterdir() if not path.name.startswith(".")] == ["my-cat"]


def test_session_list_refresh_follows_the_files(app, page):
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


def test_empty_areas_describe_what_will_appear(app, page):
    open_page(page, app)
    expect(page.locator("#fg-banner .sum")).to_have_text("No active training sessions found. Each training that you start appears here.")
    expect(page.locator("#fg-images .fg-empty")).to_contain_text("appear here")
    page.goto(f"{app.url}#run")
    expect(page.locator(".fg-run-none")).to_contain_text("to see a run here")
    assert page.locator(".fg-run-none").evaluate("(card) => parseFloat(getComputedStyle(card).paddingLeft)") >= 16
    make_run(app.outputs, "cat", status="stopped", timestamp=1)
    expect(page.locator("#fg-banner .sum")).to_have_text("1 run, none active")


def test_check_level_is_an_icon_with_a_label(app, page):
    open_page(page, app)
    expect(page.locator(".fg-line-ok .fg-symbol").first).to_have_attribute("aria-label", "Ready")
    expect(page.locator(".fg-line-error .fg-symbol").first).to_have_attribute("aria-label", "Error")
    colors = [
        page.locator(f".fg-line-{level} .fg-symbol").first.evaluate("(icon) => getComputedStyle(icon).color") for level in ("ok", "error")
    ]
    assert len(set(colors)) == 2
    assert page.locator(".fg-lines svg.fg-symbol").count() == page.locator(".fg-lines li").count()

"""Step 2 in a real browser: files dropped, captions, search, filter, selection and Undo, by mouse and by keyboard."""

import re
from base64 import b64encode

from playwright.sync_api import expect

from tests.support.page import DROP_FOLDERS, App, drop_files, open_page


def test_images_are_searched_filtered_and_edited_in_bulk_with_undo(app, page):
    open_page(page, app)
    page.locator("#fg-example").click()
    expect(page.locator(".fg-image")).to_have_count(8)
    page.get_by_label("Search names and captions").fill("WHISKERS")
    expect(page.locator(".fg-image")).to_have_count(1)
    page.get_by_label("Search names and captions").fill("")
    expect(page.locator(".fg-image")).to_have_count(8)
    page.get_by_label("Caption of cat-2.png").fill("")
    page.get_by_label("Caption of cat-3.png").fill("a face")
    expect(page.locator(".fg-counts")).to_have_text("8 images, 1 without a caption")
    warnings = page.locator(".fg-problems li")
    warnings.filter(has_text="without a caption").get_by_role("button", name="Show 1").click()
    expect(page.locator(".fg-image .fg-filename")).to_have_text(["cat-2.png"])
    page.get_by_label("Caption of cat-2.png").fill("sks cat")
    page.get_by_label("Search names and captions").focus()
    expect(page.locator(".fg-image")).to_have_count(0)  # it has a caption now
    warnings.filter(has_text="not contain the trigger word").get_by_role("button", name="Show 1").click()
    expect(page.locator(".fg-image .fg-filename")).to_have_text(["cat-3.png"])
    page.get_by_label("Select cat-3.png").check()
    page.get_by_role("button", name="Add text…").click()
    expect(page.get_by_label("Text", exact=True)).to_be_focused()
    page.keyboard.type("sks cat")
    page.get_by_role("dialog").get_by_role("button", name="Add", exact=True).click()
    expect(page.locator(".fg-image")).to_have_count(0)
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_label("Caption of cat-3.png")).to_have_value("a face")
    page.get_by_label("Search names and captions").fill("no such words")
    page.get_by_role("button", name="Show all 8").click()
    expect(page.locator(".fg-image")).to_have_count(8)


def test_caption_files_of_no_image_are_removed_and_put_back(app, page, cats, tmp_path):
    (tmp_path / "notes.txt").write_text("for later")
    open_page(page, app)
    page.locator("#fg-file").set_input_files([*cats[:1], tmp_path / "notes.txt"])
    warning = page.locator(".fg-problems").get_by_role("listitem").filter(has_text="1 caption file is not used: notes.txt.")
    warning.get_by_role("button", name="Remove").click()
    expect(warning).to_have_count(0)
    page.locator(".toast", has_text="1 caption file removed.").get_by_role("button", name="Undo").click()
    expect(warning).to_be_visible()


def test_several_images_are_removed_and_put_back_and_steps_agree(app, page):
    open_page(page, app)
    page.locator("#fg-example").click()
    expect(page.locator("#fg-expected-steps")).to_have_text("320 steps")
    page.get_by_label("Select cat-2.png").check()
    page.get_by_role("button", name="Select all 8").click()
    expect(page.locator("#fg-images .bulk")).to_contain_text("8 selected")
    page.get_by_label("Select cat-8.png").uncheck()
    page.locator("#fg-images .bulk").get_by_role("button", name="Remove").click()
    expect(page.locator(".fg-counts")).to_have_text("1 image")
    expect(page.locator("#fg-formula")).to_contain_text("1 image × 10 repeats")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".fg-counts")).to_have_text("8 images")
    expect(page.locator("#fg-formula")).to_contain_text("8 images × 10 repeats")
    expect(page.get_by_label("Caption of cat-5.png")).to_have_value("sks cat, nose and whiskers")


def test_image_has_one_tab_stop_and_is_used_by_keyboard(app, page):
    open_page(page, app)
    page.locator("#fg-example").click()
    expect(page.locator(".fg-image")).to_have_count(8)
    page.get_by_label("Caption of cat-1.png").focus()
    page.keyboard.press("Tab")
    expect(page.get_by_label("Caption of cat-2.png")).to_be_focused()
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_label("Select cat-3.png")).to_be_focused()
    page.keyboard.press("Space")
    expect(page.locator("#fg-images .bulk")).to_contain_text("1 selected")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Caption of cat-3.png")).to_be_focused()


def test_dropped_captions_are_matched_to_images_with_its_name(app, page, cats):
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
    page.locator(".fg-image", has_text="b.png").hover()
    page.get_by_role("button", name="Remove b.png").click()
    expect(page.locator(".fg-image")).to_have_count(2)
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_label("Caption of b.png")).to_have_value("caption of b")


def test_dropped_kohya_folder_sets_repeats(app, page, cats):
    open_page(page, app)
    page.evaluate(DROP_FOLDERS, {f"10_cat/{index}.png": b64encode(cats[index].read_bytes()).decode() for index in range(2)})
    expect(page.locator(".toast")).to_contain_text("kohya's folder 10_cat, so")
    expect(page.get_by_label("Trigger word")).to_have_value("cat")


def test_dropped_folders_with_equal_image_names_keep_both_images(app, page, cats):
    open_page(page, app)
    folders = {f"{letter}/{name}": content for letter, number in (("a", 0), ("b", 1)) for name, content in (
        ("cat.png", cats[number].read_bytes()), ("cat.txt", f"caption of {letter}".encode()),
    )}  # fmt: skip
    page.evaluate(DROP_FOLDERS, {path: b64encode(content).decode() for path, content in folders.items()})
    expect(page.locator(".fg-image")).to_have_count(2)
    expect(page.get_by_label("Caption of cat.png")).to_have_value("caption of a")
    expect(page.get_by_label("Caption of cat-2.png")).to_have_value("caption of b")


def test_caption_typed_while_app_is_down_is_saved_after_reconnect(app: App, page):
    open_page(page, app)
    page.locator("#fg-example").click()
    expect(page.locator(".fg-image")).to_have_count(8)
    expect(page.locator("#start")).not_to_have_attribute("aria-disabled", "true")
    app.kill()
    page.get_by_label("Caption of cat-1.png").fill("sks cat, typed while away")
    expect(page.locator(".fg-image", has_text="cat-1.png").locator(".fg-saved")).to_have_text(
        "Not saved yet. This browser keeps it until the app is back."
    )
    page.locator("#start").click()
    expect(page.locator(".toast").last).to_contain_text("The app does not answer. Nothing was started")
    app.start()
    page.wait_for_function("localStorage.getItem('fluxgym.captions') === null")
    page.reload()
    expect(page.get_by_label("Caption of cat-1.png")).to_have_value("sks cat, typed while away")


def test_caption_not_saved_before_page_close_is_saved_by_next_page(app: App, context, page):
    open_page(page, app)
    page.locator("#fg-example").click()
    expect(page.locator(".fg-image")).to_have_count(8)
    page.route("**/images/cat-2.png*", lambda route: route.abort() if route.request.method == "PATCH" else route.continue_())
    page.get_by_label("Caption of cat-2.png").fill("sks cat, from before")
    page.wait_for_function("localStorage.getItem('fluxgym.captions') !== null")
    other = context.new_page()
    open_page(other, app)
    expect(other.get_by_label("Caption of cat-2.png")).to_have_value("sks cat, from before")
    other.wait_for_function("localStorage.getItem('fluxgym.captions') === null")


def test_start_names_caption_that_app_refuses(app: App, page):
    open_page(page, app)
    page.locator("#fg-example").click()
    expect(page.locator(".fg-image")).to_have_count(8)
    expect(page.locator("#start")).not_to_have_attribute("aria-disabled", "true")
    page.get_by_label("Caption of cat-3.png").fill("x" * 20_001)
    page.locator("#start").click()
    expect(page.locator(".toast").last).to_contain_text(
        "Not started. The caption of cat-3.png is not saved. The caption of cat-3.png is longer than 20000"
    )
    assert list((app.outputs).glob("*/ui_state.json")) == []


def test_caption_box_grows_to_show_complete_caption(app, page, cats):
    open_page(page, app)
    drop_files(page, {"cat.png": cats[0].read_bytes(), "cat.txt": ("a cat that sits on a long chair, " * 12).encode()})
    box = page.get_by_label("Caption of cat.png")
    expect(box).to_have_value(re.compile("long chair"))
    assert box.evaluate("(text) => text.scrollHeight <= text.clientHeight + 1")

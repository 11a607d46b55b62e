"""The main job by keyboard only, from the first visit to a deleted run: each control is reached with Tab and used with the keys of its pattern."""

import re

from playwright.sync_api import Locator, Page, expect

from tests.support.page import App, open_page

MAX_TABS = 120
FIRST_STEPS_MS = 120_000


def tab_to(page: Page, wanted: Locator) -> None:
    """Press Tab until an element has the focus, as a keyboard user would; the focus never goes to anything that cannot be seen."""
    expect(wanted).to_be_attached()
    for _ in range(MAX_TABS):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement === document.body || document.activeElement.checkVisibility()"), "the focus is hidden"
        if wanted.evaluate("(element) => element === document.activeElement"):
            return
    raise AssertionError(f"Tab does not reach {wanted}")


def use(page: Page, wanted: Locator, key: str = "Enter") -> None:
    """Go to a control with Tab and press a key."""
    tab_to(page, wanted)
    page.keyboard.press(key)


def fill_in(page: Page, label: str, text: str) -> None:
    """Go to a field with Tab and type over its content."""
    tab_to(page, page.get_by_label(label, exact=True))
    page.keyboard.press("Control+a")
    page.keyboard.type(text)


def test_first_training_is_made_stopped_resumed_and_deleted_by_keyboard(app: App, page: Page, cats):
    open_page(page, app)
    use(page, page.get_by_role("link", name="Skip to content"))
    fill_in(page, "LoRA name", "My Cat")
    fill_in(page, "Trigger word/sentence", "sks cat")
    fill_in(page, "Repeat trains per image", "10")
    fill_in(page, "Max train epochs", "100")
    with page.expect_file_chooser() as chooser:
        use(page, page.get_by_label("Add images and .txt captions"))
    chooser.value.set_files(cats[:2])
    expect(page.locator(".fg-image")).to_have_count(2)
    tab_to(page, page.locator(".fg-image textarea").first)
    page.keyboard.type("sks cat, looking left")
    use(page, page.get_by_role("button", name="Advanced"))
    fill_in(page, "Save every N epochs", "50")
    page.keyboard.press("Shift+Tab")
    use(page, page.locator("#start"))

    expect(page).to_have_url(re.compile("#run/my-cat$"))
    expect(page.locator("#fg-run-page")).to_be_focused()  # the button that had the focus is on the other page
    step = page.locator("#fg-run-page dd", has_text=re.compile(r"[1-9]\d* of \d+")).first
    expect(step).to_be_visible(timeout=FIRST_STEPS_MS)
    use(page, page.locator("#fg-run-page").get_by_role("button", name="Stop…"))
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    use(page, dialog.get_by_role("button", name="Stop", exact=True))
    resume = page.locator("#fg-run-page").get_by_role("button", name="Resume from step").first
    expect(resume).to_be_visible(timeout=60_000)
    assert "sks cat, looking left" in {path.read_text().strip() for path in (app.outputs / "my-cat" / "dataset").glob("*.txt")}

    use(page, resume)
    expect(page.get_by_role("heading", name="My Cat is ready")).to_be_visible(timeout=300_000)
    with page.expect_download() as download:
        use(page, page.get_by_role("link", name="Download LoRA"))
    assert download.value.suggested_filename == "my-cat.safetensors"

    page.keyboard.press("Control+Home")
    use(page, page.get_by_role("link", name="Runs", exact=True).first)
    more = page.locator("#fg-runs").get_by_role("button", name="More for My Cat")
    use(page, more)
    page.keyboard.press("End")
    expect(page.locator("#fg-runs").get_by_role("menuitem", name="Delete…")).to_be_focused()
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Escape")
    expect(more).to_be_focused()
    page.keyboard.press("ArrowDown")
    forget = page.locator("#fg-runs").get_by_role("menuitem", name="Forget")
    while not forget.evaluate("(element) => element === document.activeElement"):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(more).to_have_count(0)
    use(page, page.get_by_role("button", name="Undo"))
    expect(more).to_be_visible()
    use(page, more)
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    use(page, dialog.get_by_role("button", name=re.compile("^Delete")))
    expect(more).to_have_count(0)
    assert not (app.outputs / "my-cat").exists()


def test_list_of_a_dropdown_closes_when_its_field_loses_the_focus_and_on_escape(app: App, page: Page):
    open_page(page, app)
    page.get_by_label("Trigger word/sentence").focus()
    model, vram, lists = page.get_by_label("Base model"), page.get_by_label("GPU memory (VRAM)"), page.get_by_role("listbox")
    page.keyboard.press("Tab")
    expect(model).to_be_focused()
    expect(lists).to_have_count(1)
    page.keyboard.press("Tab")
    expect(vram).to_be_focused()
    expect(lists).to_have_count(1)
    page.keyboard.press("Escape")
    expect(lists).to_have_count(0)
    expect(vram).to_be_focused()
    page.keyboard.press("Shift+Tab")
    expect(model).to_be_focused()
    expect(lists).to_have_count(1)
    page.keyboard.press("Shift+Tab")
    expect(lists).to_have_count(0)


def test_back_returns_to_where_page_was_left(app: App, page: Page):
    open_page(page, app)
    page.evaluate("scrollTo({ top: 250, behavior: 'instant' })")
    page.evaluate("location.hash = 'runs'")  # a click of Playwright would scroll first
    page.wait_for_function("scrollY === 0")
    page.go_back()
    page.wait_for_function("scrollY === 250")

"""The main job in a real browser: images, Start, interruptions of the page, the app and the connection, and the finished LoRA."""

import re

from playwright.sync_api import Page, expect
from safetensors import safe_open

from tests.support.page import App

BANNER = "#fg-banner li.row"
STARTED_MS = 120_000  # until the first steps, beside another test
RUNNING = re.compile("🟢.*Running", re.DOTALL)


def open_page(page: Page, app: App) -> None:
    """Open the page and wait until the form answers."""
    page.goto(app.url)
    expect(page.locator(".fg-lines li").first).to_be_attached()


def fill_form(page: Page, name: str, epochs: int) -> None:
    """Type the settings of a training."""
    page.get_by_label("LoRA name").fill(name)
    page.get_by_label("Trigger word/sentence").fill("sks cat")
    page.get_by_label("Max train epochs").fill(str(epochs))


def row(page: Page, name: str):
    """Return a session's row in the banner."""
    return page.locator(BANNER, has=page.get_by_role("link", name=name, exact=True))


def steps_done(page: Page, name: str) -> int:
    """Return the step that a row shows."""
    text = row(page, name).text_content() or ""
    return int(re.search(r"(\d+) (?:/|of) \d+", text)[1])


def leave_run_page(page: Page, slug: str) -> None:
    """Wait until the run's page is open, then return to the form: on its own page, a run is not in the banner."""
    expect(page).to_have_url(re.compile(f"#run/{slug}$"))
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Train").click()


def test_first_training_survives_reload_and_killed_app(pocket_app, page, cats):
    app = pocket_app
    open_page(page, app)
    expect(page.locator("#fg-banner .sum")).to_contain_text("No active training sessions found")
    page.locator("#fg-file").set_input_files(cats)
    expect(page.locator(".fg-image")).to_have_count(8)
    for index, caption in enumerate(page.locator(".fg-image textarea").all()):
        caption.fill(f"sks cat, crop {index}")
    expect(page.locator(".fg-counts")).to_have_text("8 images")
    fill_form(page, "My Cat", 12)
    page.get_by_label("Sample image every N steps").fill("40")
    expect(page.locator("#fg-expected-steps")).to_have_text("120 steps")
    page.locator(".fg-image textarea").last.fill("sks cat, the last word")  # not saved yet when Start is pressed
    page.locator("#start").click()
    leave_run_page(page, "my-cat")
    expect(row(page, "My Cat")).to_contain_text(RUNNING)
    expect(row(page, "My Cat").locator(".fg-steps")).to_contain_text(re.compile(r"[1-9]\d* / 120"), timeout=STARTED_MS)

    page.reload()  # in mid-run
    expect(row(page, "My Cat")).to_contain_text(RUNNING)
    expect(page.get_by_label("LoRA name")).to_have_value("My Cat")
    expect(page.get_by_label("Max train epochs")).to_have_value("12")
    expect(page.locator(".fg-image textarea").first).to_have_value("sks cat, crop 0")

    before = steps_done(page, "My Cat")
    app.kill()
    expect(page.locator(".fg-connection")).to_be_visible()
    app.start()
    expect(page.locator(".fg-connection")).to_be_hidden()
    expect(row(page, "My Cat")).to_contain_text(RUNNING)
    assert steps_done(page, "My Cat") >= before

    expect(row(page, "My Cat")).to_contain_text("Completed", timeout=300_000)
    expect(row(page, "My Cat")).to_contain_text("✅")
    page.goto(f"{app.url}#run/my-cat")
    expect(page.locator(".matrix .pic img")).to_have_count(3)  # at steps 40, 80 and 120
    assert page.locator(".matrix .pic img").first.evaluate("image => image.decode().then(() => image.naturalWidth)") == 64
    expect(page.get_by_role("slider", name="Loss by step").locator("canvas")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name=re.compile("^Download my-cat.safetensors,")).click()
    with safe_open(download.value.path(), "pt") as file:
        assert any(key.endswith("lora_up.weight") for key in file.keys())  # noqa: SIM118 (safe_open is not a mapping)
    assert (app.outputs / "my-cat" / "dataset" / "cat 7.txt").read_text().strip() == "sks cat, the last word"
    assert (app.outputs / "my-cat" / "dataset" / "cat 0.txt").read_text().strip() == "sks cat, crop 0"


def test_stop_button_then_resume_completes_run(app, page):
    open_page(page, app)
    page.locator("#fg-example").click()
    expect(page.locator(".fg-image")).to_have_count(8)
    expect(page.get_by_label("LoRA name")).to_have_value("example-cat")
    fill_form(page, "Second", 40)
    page.locator("#start").click()
    leave_run_page(page, "second")
    expect(row(page, "Second").locator(".fg-steps")).to_contain_text(re.compile(r"[1-9]\d* / 400"), timeout=STARTED_MS)
    row(page, "Second").get_by_role("button", name="Stop…: Second").click()
    page.get_by_role("dialog").get_by_role("button", name="Stop", exact=True).click()
    expect(row(page, "Second")).to_contain_text("Stopped", timeout=60_000)
    expect(row(page, "Second")).to_contain_text("🔵")
    stopped_at = steps_done(page, "Second")
    assert 0 < stopped_at < 400
    row(page, "Second").get_by_role("button", name=f"Resume from step {stopped_at}: Second").click()
    leave_run_page(page, "second")
    expect(row(page, "Second")).to_contain_text(RUNNING)
    expect(row(page, "Second")).to_contain_text("Completed", timeout=300_000)
    assert (app.outputs / "second" / "second.safetensors").is_file()

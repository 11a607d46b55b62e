"""The list of sessions in a real browser: every button of it pressed, two browsers that agree, an app that dies under an open page."""

import json
import time

import pytest
from playwright.sync_api import Page, expect

from fluxgym.runs.paths import OutputsPaths
from fluxgym.runs.state import read_state, update_state
from fluxgym.sessions.history import save_version
from tests.support.page import App, drop_files, open_page
from tests.support.photos import write_cats
from tests.support.runs import make_run


@pytest.fixture(name="run")
def fixture_run(app: App):
    run = make_run(
        app.outputs, "my-cat", lora_name="My Cat", status="stopped", base_model="pocket", max_train_epochs=4, timestamp=time.time() - 60
    )
    write_cats(run.dataset, count=2, size=64)
    return run


def row(page: Page, name: str):
    """Return a session's row."""
    return page.locator(".fg-row").filter(has=page.get_by_text(name, exact=True))


def unfold(page: Page) -> None:
    """Open the list, if it is not open."""
    if page.locator(".fg-sessions[open]").count() == 0:
        page.locator(".fg-sessions > summary").click()


def choose(page: Page, name: str, item: str) -> None:
    """Choose an item of a row's menu."""
    row(page, name).get_by_label(f"More for {name}").click()
    row(page, name).get_by_role("menuitem", name=item).click()


@pytest.mark.parametrize("width", [390, 1440])
def test_session_menu_every_item_does_its_action(app, page, run, width):
    page.set_viewport_size({"width": width, "height": 844})
    save_version(run)
    update_state(run, {"max_train_epochs": 9})
    open_page(page, app)
    unfold(page)
    choose(page, "My Cat", "History")
    expect(page.get_by_role("dialog")).to_contain_text("max_train_epochs: 4 → 9")
    page.get_by_role("button", name="Restore these settings").click()
    expect(page.get_by_role("button", name="Restored")).to_be_visible()
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    assert read_state(run)["max_train_epochs"] == 4
    choose(page, "My Cat", "Duplicate")
    page.get_by_label("Name of the copy").fill("my cat")
    page.get_by_role("dialog").get_by_role("button", name="Duplicate").click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("my-cat already")
    page.get_by_label("Name of the copy").fill("Second Cat")
    page.get_by_role("dialog").get_by_role("button", name="Duplicate").click()
    expect(page.locator(".fg-run-head .fg-name")).to_have_text("Second Cat")
    expect(row(page, "Second Cat")).to_contain_text("not started yet")
    choose(page, "My Cat", "Save as template")
    page.get_by_label("Name of the template").fill("Cats")
    page.get_by_role("dialog").get_by_role("button", name="Save as template").click()
    expect(page.get_by_role("dialog")).to_be_hidden()
    choose(page, "My Cat", "Export")
    with page.expect_download() as download:
        page.get_by_role("link", name="Settings, images and captions (.zip)").click()
    archive = download.value.path()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.get_by_label("An exported run or archive").set_input_files(
        {"name": "x.zip", "mimeType": "application/zip", "buffer": archive.read_bytes()}
    )
    expect(page.locator(".fg-row")).to_have_count(3)
    page.get_by_label("An exported run or archive").set_input_files({"name": "x.zip", "mimeType": "application/zip", "buffer": b"PK no"})
    expect(page.get_by_role("dialog")).to_contain_text("Not imported")
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    choose(page, "Second Cat", "Forget")
    page.get_by_role("dialog").get_by_role("button", name="Forget").click()
    expect(row(page, "Second Cat")).to_have_count(0)


@pytest.mark.parametrize("width", [390, 1440])
def test_delete_shows_sizes_and_asks_for_confirmation(app, page, run, width):
    page.set_viewport_size({"width": width, "height": 844})
    open_page(page, app)
    unfold(page)
    choose(page, "My Cat", "Delete")
    expect(page.get_by_role("dialog")).to_contain_text("5 files")
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    assert run.folder.exists()
    choose(page, "My Cat", "Delete")
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.locator(".fg-row")).to_have_count(0)
    assert not run.folder.exists()


def test_list_menu_every_item_does_its_action(app, page, run):
    update_state(run, {"timestamp": 1000.0})
    open_page(page, app)
    unfold(page)
    page.get_by_label("More for all sessions").click()
    with page.expect_download() as download:
        page.get_by_role("menuitem", name="Back up all states").click()
    assert download.value.suggested_filename == "fluxgym-states-backup.tar.gz"
    page.get_by_label("More for all sessions").click()
    page.get_by_role("menuitem", name="Forget old sessions").click()
    page.get_by_label("Older than (days)").fill("soon")
    page.get_by_role("button", name="Forget sessions").click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("whole number")
    page.get_by_label("Older than (days)").fill("30")
    page.get_by_role("button", name="Forget sessions").click()
    expect(page.locator(".fg-row")).to_have_count(0)
    expect(page.get_by_text("No active training sessions found")).to_be_visible()


def test_damaged_state_offers_a_repair(app, page, run):
    run.ui_state.write_text('{"lora_name": ')
    run.train_sh.write_text("python flux_train_network.py --max_train_epochs 12\n")
    open_page(page, app)
    unfold(page)
    expect(row(page, "my-cat")).to_contain_text("Cannot be read")
    row(page, "my-cat").get_by_role("button", name="Repair").click()
    expect(row(page, "my-cat")).to_contain_text("Epochs: 12")


def test_run_page_shows_curve_samples_and_log(app, page, run):
    run.monitor_log.write_text("2025-01-25 14:30:22 trainer started, PID 7\n")
    page.goto(f"{app.url}#run/my-cat")
    page.get_by_text("Monitor", exact=True).click()
    expect(page.get_by_text("no process monitors this run")).to_be_visible()
    expect(page.get_by_label("The last lines of monitor.log")).to_contain_text("trainer started")
    run.monitor_log.write_text("another line\n")
    page.get_by_role("button", name="Refresh Monitor Status").click()
    expect(page.get_by_label("The last lines of monitor.log")).to_contain_text("another line")


def test_click_while_the_list_changes_hits_the_same_row(app, page, run):
    open_page(page, app)
    unfold(page)
    row(page, "My Cat").get_by_label("More for My Cat").click()
    item = row(page, "My Cat").get_by_role("menuitem", name="Forget")
    make_run(app.outputs, "newer", status="stopped", timestamp=time.time())
    expect(page.locator(".fg-row")).to_have_count(2)
    item.click()  # the row has moved down meanwhile
    expect(page.get_by_role("dialog")).to_contain_text("Forget My Cat?")
    page.get_by_role("dialog").get_by_role("button", name="Forget").click()
    expect(page.locator(".fg-row")).to_have_count(1)
    assert OutputsPaths(app.outputs).run("newer").ui_state.exists()


def test_two_browsers_show_the_same_list_after_an_app_restart(app, browser, page, run):
    other = browser.new_context().new_page()
    for one in (page, other):
        open_page(one, app)
        unfold(one)
        expect(row(one, "My Cat")).to_be_visible()
    choose(other, "My Cat", "Forget")
    other.get_by_role("dialog").get_by_role("button", name="Forget").click()
    page.get_by_role("button", name="Refresh Sessions").click()
    expect(page.locator(".fg-row")).to_have_count(0)
    app.kill()
    expect(page.locator(".fg-connection")).to_be_visible()
    run.ui_state.write_text(json.dumps({"lora_name": "Came back", "timestamp": 5.0}))
    app.start()
    for one in (page, other):
        expect(one.locator(".fg-connection")).to_be_hidden()
        expect(row(one, "Came back")).to_be_visible()
    other.context.close()


def test_second_tab_leaves_the_draft_of_the_first_unchanged(app, context, page, run, cats):
    context.add_init_script("localStorage.setItem('fluxgym.viewed', 'my-cat')")
    open_page(page, app)
    expect(page.get_by_label("Caption of cat 0.png")).to_be_visible()
    other = context.new_page()
    open_page(other, app)
    other.get_by_role("button", name="More for this form").click()
    other.get_by_role("menuitem", name="New training").click()
    expect(other.locator(".fg-image")).to_have_count(0)
    drop_files(other, {"mine.png": cats[0].read_bytes(), "mine.txt": b"mine alone"})
    expect(other.get_by_label("Caption of mine.png")).to_have_value("mine alone")
    page.get_by_label("Caption of cat 0.png").fill("changed")
    expect(page.locator(".fg-image", has_text="cat 0.png").locator(".fg-saved")).to_contain_text("an image that was not started")
    expect(other.locator("html[data-fg-draft=typed]")).to_be_attached()
    page.get_by_role("button", name="More for this form").click()
    page.get_by_role("menuitem", name="New training").click()
    expect(page.get_by_role("dialog")).to_contain_text("1 image with captions")
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    other.reload()
    expect(other.get_by_label("Caption of mine.png")).to_have_value("mine alone")

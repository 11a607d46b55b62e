"""The banner in a real browser: each of its buttons, two browsers that show the same, and an app that ends while a page is open."""

import json
import re
import time

import pytest
from playwright.sync_api import Page, expect

from fluxgym.runs.paths import OutputsPaths
from fluxgym.runs.state import read_state, update_state
from fluxgym.sessions.history import save_version
from fluxgym.sessions.templates import list_templates
from tests.support.page import App, drop_files, open_page
from tests.support.photos import write_cats
from tests.support.runs import STOPPABLE_TRAINER, launch, make_run, wait_until_running


@pytest.fixture(name="run")
def fixture_run(app: App):
    run = make_run(
        app.outputs, "my-cat", lora_name="My Cat", status="stopped", base_model="pocket", max_train_epochs=4, timestamp=time.time() - 60
    )
    write_cats(run.dataset, count=2, size=64)
    return run


def row(page: Page, name: str):
    """Return a session's row in the banner."""
    return page.locator("#fg-banner li.row").filter(has=page.get_by_role("link", name=name, exact=True))


def open_list(page: Page, app: App, page_hash: str = "") -> None:
    """Open the page and wait until the banner has its first answer."""
    page.goto(app.url + page_hash)
    expect(page.locator("#fg-banner .sum")).not_to_be_empty()


def unfold(page: Page) -> None:
    """Show all sessions in the banner."""
    title = page.get_by_role("button", name="Active Training Sessions")
    if title.get_attribute("aria-expanded") == "false":
        title.click()


def choose(page: Page, name: str, item: str) -> None:
    """Choose an item of a row's menu."""
    row(page, name).get_by_role("button", name=f"More for {name}").click()
    row(page, name).get_by_role("menuitem", name=item).click()


@pytest.mark.parametrize("width", [390, 1440])
def test_session_menu_items_perform_their_actions(app, page, run, width):
    page.set_viewport_size({"width": width, "height": 844})
    save_version(run)
    update_state(run, {"max_train_epochs": 9})
    open_list(page, app)
    unfold(page)
    choose(page, "My Cat", "History")
    expect(page.get_by_role("dialog")).to_contain_text("Max train epochs: 4 → 9")
    page.get_by_role("button", name="Restore the old settings").click()
    expect(page.get_by_role("button", name="Restored")).to_be_visible()
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    assert read_state(run)["max_train_epochs"] == 4
    choose(page, "My Cat", "Save as template")
    page.get_by_label("Name of the template").fill("Cats")
    page.get_by_role("dialog").get_by_role("button", name="Save as template").click()
    expect(page.get_by_role("dialog")).to_be_hidden()
    update_state(run, {"max_train_epochs": 6})
    choose(page, "My Cat", "Save as template")
    page.get_by_label("Name of the template").fill("Cats")
    page.get_by_role("dialog").get_by_role("button", name="Save as template").click()
    expect(page.get_by_role("dialog")).to_contain_text("Replace the template Cats?")
    page.get_by_role("dialog").get_by_role("button", name="Replace").click()
    expect(page.get_by_role("dialog")).to_be_hidden()
    (template,) = list_templates(OutputsPaths(app.outputs))
    assert template.settings["max_train_epochs"] == 6
    choose(page, "My Cat", "Export")
    with page.expect_download() as download:
        page.get_by_role("link", name="Settings, images and captions (.zip)").click()
    archive = download.value.path()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    choose(page, "My Cat", "Duplicate")
    page.get_by_label("Name of the copy").fill("my cat")
    page.get_by_role("dialog").get_by_role("button", name="Duplicate").click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("my-cat already")
    page.get_by_label("Name of the copy").fill("Second Cat")
    page.get_by_role("dialog").get_by_role("button", name="Duplicate").click()
    expect(page.get_by_role("heading", name="Second Cat", level=1)).to_be_visible()
    expect(row(page, "Second Cat")).to_have_count(0)  # its own page shows it
    train = page.get_by_role("navigation", name="Main").get_by_role("link", name="Train")
    train.click()
    expect(row(page, "Second Cat")).to_contain_text("Not started")
    expect(row(page, "Second Cat")).to_contain_text("Copied: 20")
    expect(row(page, "Second Cat").get_by_role("button", name="Start: Second Cat")).to_be_visible()
    file = page.locator("#fg-banner").get_by_label("An exported run or archive")
    file.set_input_files({"name": "x.zip", "mimeType": "application/zip", "buffer": archive.read_bytes()})
    expect(page.locator("html[data-fg-tab=run]")).to_be_attached()  # the page of the imported run
    train.click()
    expect(page.locator("#fg-banner li.row")).to_have_count(3)
    file.set_input_files({"name": "x.zip", "mimeType": "application/zip", "buffer": b"PK no"})
    expect(page.get_by_role("dialog")).to_contain_text("Not imported")
    page.get_by_role("dialog").get_by_role("button", name="Close").click()


def test_forget_can_be_undone(app, page, run):
    before = run.ui_state.read_bytes()
    open_list(page, app)
    unfold(page)
    choose(page, "My Cat", "Forget")
    expect(row(page, "My Cat")).to_have_count(0)
    assert not run.ui_state.exists()
    expect(page.get_by_role("status").filter(has_text="My Cat is forgotten. Its files are kept.")).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    unfold(page)
    expect(row(page, "My Cat")).to_be_visible()
    assert run.ui_state.read_bytes() == before


def test_removed_runs_are_listed_and_put_back(app, page, run):
    open_list(page, app)
    unfold(page)
    choose(page, "My Cat", "Forget")
    expect(row(page, "My Cat")).to_have_count(0)
    page.get_by_role("button", name="More for all sessions").click()
    page.get_by_role("menuitem", name="Removed runs").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(re.compile("My Cat forgotten 20"))
    dialog.get_by_role("button", name="Put back My Cat").click()
    expect(dialog.get_by_role("button", name="Put back My Cat")).to_have_text("On the list as my-cat")
    dialog.get_by_role("button", name="Close").click()
    assert run.ui_state.exists()


def test_undo_that_fails_is_reported_and_can_be_pressed_again(app, page, run):
    open_list(page, app)
    unfold(page)
    choose(page, "My Cat", "Forget")
    page.route("**/undo-forget", lambda route: route.abort())
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".toast")).to_contain_text("Not undone. Connection lost.")
    page.unroute("**/undo-forget")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".toast")).to_have_count(0)
    unfold(page)
    expect(row(page, "My Cat")).to_be_visible()
    assert run.ui_state.exists()


@pytest.mark.parametrize("width", [390, 1440])
def test_delete_dialog_counts_files_and_focuses_cancel(app, page, run, width):
    page.set_viewport_size({"width": width, "height": 844})
    run.lora.write_bytes(b"x" * 2_000_000)
    open_list(page, app)
    unfold(page)
    choose(page, "My Cat", "Delete")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Deletes the folder my-cat, ")
    expect(dialog).to_contain_text("Includes 1 LoRA file and 2 images. This cannot be undone.")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(row(page, "My Cat").get_by_role("button", name="More for My Cat")).to_be_focused()
    assert run.folder.exists()
    choose(page, "My Cat", "Delete")
    dialog.get_by_role("button", name="Delete 2 MB").click()
    expect(page.locator("#fg-banner li.row")).to_have_count(0)
    assert not run.folder.exists()


def test_list_menu_items_perform_their_actions(app, page, run):
    update_state(run, {"timestamp": 1000.0})
    open_list(page, app)
    more = page.get_by_role("button", name="More for all sessions")
    more.click()
    with page.expect_download() as download:
        page.get_by_role("menuitem", name="Back up all states").click()
    assert download.value.suggested_filename == "fluxgym-states-backup.tar.gz"
    more.click()
    page.get_by_role("menuitem", name="Show all runs").click()
    expect(page.locator("#runs tbody tr")).to_have_count(1)
    more.click()
    page.get_by_role("menuitem", name="Forget old runs").click()
    dialog = page.get_by_role("dialog")
    page.get_by_label("Older than (days)").fill("soon")
    dialog.get_by_role("button", name="Continue").click()
    expect(dialog.get_by_role("alert")).to_contain_text("whole number")
    page.get_by_label("Older than (days)").fill("0")
    dialog.get_by_role("button", name="Continue").click()
    expect(dialog).to_contain_text("Forget 1 run?")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    assert run.ui_state.exists()
    dialog.get_by_role("button", name="Forget 1 run").click()
    expect(page.get_by_text("No active training sessions found")).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#runs tbody tr")).to_have_count(1)


def test_damaged_state_offers_repair(app, page, run):
    run.ui_state.write_text('{"lora_name": ')
    run.train_sh.write_text("python flux_train_network.py --max_train_epochs 12\n")
    open_list(page, app)
    unfold(page)
    expect(row(page, "my-cat")).to_contain_text("Cannot be read")
    expect(row(page, "my-cat")).to_contain_text("Changed: 20")
    expect(row(page, "my-cat")).not_to_contain_text("Started")
    row(page, "my-cat").get_by_role("button", name="Repair").click()
    expect(row(page, "my-cat")).to_contain_text("Epochs: 12")


def test_banner_shows_three_rows_and_rest_on_request(app, page):
    for number in range(5):
        make_run(app.outputs, f"broken-{number}", status="failed", reason_code="nan", reason="Loss is NaN.", timestamp=1000.0 + number)
    make_run(app.outputs, "fine", status="completed", timestamp=5000.0)
    open_list(page, app)
    rows = page.locator("#fg-banner li.row")
    expect(page.locator("#fg-banner .sum")).to_have_text("5 need attention")
    expect(rows.locator(".name")).to_have_text(["broken-4", "broken-3", "broken-2"])
    page.get_by_role("button", name="Show 2 more that need attention").click()
    expect(rows).to_have_count(5)
    page.get_by_role("button", name="Show fewer").click()
    expect(rows).to_have_count(3)
    page.get_by_role("button", name="Hide sessions").click()
    expect(rows).to_have_count(0)
    page.get_by_role("button", name="Show sessions").click()
    expect(rows).to_have_count(3)


def test_failure_needs_attention_until_it_was_opened(app, page, run):
    update_state(run, {"status": "failed", "reason_code": "nan", "reason": "Loss is NaN."})
    open_list(page, app)
    expect(page.locator("#fg-banner .sum")).to_have_text("1 needs attention")
    expect(row(page, "My Cat")).to_contain_text("Loss is NaN.")
    row(page, "My Cat").get_by_role("link", name="Open: My Cat").click()
    expect(row(page, "My Cat")).to_have_count(0)  # the page of a run shows it once
    page.get_by_role("navigation").get_by_role("link", name="Train").click()
    expect(page.locator("#fg-banner .sum")).to_have_text("1 run, none active")
    page.reload()
    expect(page.locator("#fg-banner .sum")).to_have_text("1 run, none active")


def test_menu_is_operable_by_keyboard(app, page, run):
    open_list(page, app)
    unfold(page)
    button = row(page, "My Cat").get_by_role("button", name="More for My Cat")
    item = lambda name: row(page, "My Cat").get_by_role("menuitem", name=name)  # noqa: E731
    for key in ("Enter", "Space", "ArrowDown"):
        button.focus()
        page.keyboard.press(key)
        expect(button).to_have_attribute("aria-expanded", "true")
        expect(item("Edit as new training")).to_be_focused()
        page.keyboard.press("Escape")
        expect(button).to_be_focused()
        expect(button).to_have_attribute("aria-expanded", "false")
    page.keyboard.press("ArrowUp")
    expect(item("Delete")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(item("Edit as new training")).to_be_focused()
    page.keyboard.press("End")
    expect(item("Delete")).to_be_focused()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowDown")
    expect(item("Duplicate")).to_be_focused()
    page.keyboard.press("Tab")
    expect(button).to_have_attribute("aria-expanded", "false")
    expect(item("Duplicate")).to_be_hidden()


def test_theme_is_kept_in_browser(app, page):
    open_list(page, app)
    page.get_by_role("button", name="Theme").click()
    expect(page.get_by_role("menuitemradio", name="System")).to_have_attribute("aria-checked", "true")
    page.get_by_role("menuitemradio", name="Dark").click()
    expect(page.locator("body.dark")).to_be_attached()
    page.reload()
    expect(page.locator("html.dark body.dark")).to_be_attached()
    page.get_by_role("button", name="Theme").click()
    page.get_by_role("menuitemradio", name="Light").click()
    expect(page.locator("body.dark")).to_have_count(0)


def test_skip_link_moves_focus_to_content(app, page):
    open_list(page, app, "#runs")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#fg-runs")).to_be_focused()
    assert page.url.endswith("#runs")


def test_banner_of_running_training_names_it_in_title(app, page):
    run = make_run(app.outputs, "my-cat", lora_name="My Cat")
    launch(run, "progress(1, loss=0.5, s_per_it=1.0, epoch=1)\n" + STOPPABLE_TRAINER)
    wait_until_running(run)
    open_list(page, app)
    expect(page).to_have_title("50% · My Cat — FluxGym")
    expect(page.get_by_role("progressbar", name="My Cat")).to_have_attribute("aria-valuenow", "50")
    expect(row(page, "My Cat")).to_contain_text("2 / 4")
    row(page, "My Cat").get_by_role("button", name="Stop…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("saves a checkpoint and ends")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    dialog.get_by_role("button", name="Stop", exact=True).click()
    expect(row(page, "My Cat")).to_contain_text("Stopped")
    expect(page).to_have_title("Stopped · My Cat — FluxGym")
    page.get_by_role("navigation").get_by_role("link", name="Runs").click()
    expect(page).to_have_title("Runs — FluxGym")
    expect(row(page, "My Cat")).not_to_contain_text("Monitoring")  # it says nothing about a run that has ended


def test_stop_reports_what_is_saved_before_and_after_first_step(app, page):
    run = make_run(app.outputs, "my-cat", lora_name="My Cat")
    launch(run, 'progress(0, phase="caching", item=2, num_items=9)\nopen(f"{folder}/ready", "w"); time.sleep(60)')
    wait_until_running(run)
    open_list(page, app)
    expect(row(page, "My Cat")).to_contain_text("Preparing the images, 2 of 9")
    row(page, "My Cat").get_by_role("button", name="Stop…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Nothing has been trained yet, so nothing is saved.")
    dialog.get_by_role("button", name="Cancel").click()
    with run.progress.open("a") as file:
        file.write(json.dumps({"time": time.time(), "attempt": 1, "phase": "training", "step": 3, "total_steps": 4}) + "\n")
    expect(row(page, "My Cat")).to_contain_text("3 / 4")
    row(page, "My Cat").get_by_role("button", name="Stop…").click()
    expect(dialog).to_contain_text("It is at step 3.")
    page.route("**/sessions/*/stop", lambda route: route.abort())
    dialog.get_by_role("button", name="Stop", exact=True).click()
    expect(page.get_by_text("It is not known whether My Cat was told to stop.")).to_be_visible()


def test_run_page_shows_curve_samples_and_log(app, page, run):
    run.monitor_log.write_text("2025-01-25 14:30:22 trainer started, PID 7\n")
    page.goto(f"{app.url}#run/my-cat")
    page.get_by_text("Monitor", exact=True).click()
    expect(page.get_by_text("The run has ended, so no process watches it.")).to_be_visible()
    expect(page.get_by_label("The last lines of monitor.log")).to_contain_text("trainer started")
    run.monitor_log.write_text("another line\n")
    page.get_by_role("button", name="Refresh Monitor Status").click()
    expect(page.get_by_label("The last lines of monitor.log")).to_contain_text("another line")


def test_click_while_list_changes_hits_same_row(app, page, run):
    open_list(page, app)
    unfold(page)
    row(page, "My Cat").get_by_role("button", name="More for My Cat").click()
    item = row(page, "My Cat").get_by_role("menuitem", name="Forget")
    make_run(app.outputs, "newer", status="stopped", timestamp=time.time())
    expect(page.locator("#fg-banner li.row")).to_have_count(2)
    item.click()  # the row has moved down meanwhile
    expect(page.get_by_role("status").filter(has_text="My Cat is forgotten")).to_be_visible()
    expect(page.locator("#fg-banner li.row")).to_have_count(1)
    assert OutputsPaths(app.outputs).run("newer").ui_state.exists()


def test_two_browsers_show_same_list_after_app_restart(app, browser, page, run):
    other = browser.new_context().new_page()
    for one in (page, other):
        open_list(one, app)
        unfold(one)
        expect(row(one, "My Cat")).to_be_visible()
    choose(other, "My Cat", "Forget")
    page.get_by_role("button", name="Refresh Sessions").click()
    expect(page.locator("#fg-banner li.row")).to_have_count(0)
    app.kill()
    expect(page.locator(".fg-connection")).to_be_visible()
    run.ui_state.write_text(json.dumps({"lora_name": "Came back", "timestamp": 5.0}))
    app.start()
    for one in (page, other):
        expect(one.locator(".fg-connection")).to_be_hidden()
        unfold(one)
        expect(row(one, "Came back")).to_be_visible()
    other.context.close()


def test_second_tab_leaves_draft_of_first_unchanged(app, context, page, run, cats):
    context.add_init_script("localStorage.setItem('fluxgym.viewed', 'my-cat')")
    open_page(page, app)
    expect(page.get_by_label("Caption of cat 0.png")).to_be_visible()
    other = context.new_page()
    open_page(other, app)
    other.get_by_role("button", name="More for this form").click()
    other.get_by_role("menuitem", name="New training", exact=True).click()
    expect(other.locator(".fg-image")).to_have_count(0)
    drop_files(other, {"mine.png": cats[0].read_bytes(), "mine.txt": b"mine alone"})
    expect(other.get_by_label("Caption of mine.png")).to_have_value("mine alone")
    page.get_by_label("Caption of cat 0.png").fill("changed")
    expect(page.locator(".fg-image", has_text="cat 0.png").locator(".fg-saved")).to_contain_text("an image that was not started")
    expect(other.locator("html[data-fg-draft=typed]")).to_be_attached()
    page.get_by_role("button", name="More for this form").click()
    page.get_by_role("menuitem", name="New training", exact=True).click()
    expect(page.get_by_role("dialog")).to_contain_text("1 image with captions")
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    other.reload()
    expect(other.get_by_label("Caption of mine.png")).to_have_value("mine alone")

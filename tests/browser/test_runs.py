"""The table of runs in a real browser: filter, sort, pages, selection, comparison, and the same on a phone."""

import json
import time

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from fluxgym.runs.state import update_state
from tests.support.page import App
from tests.support.runs import make_run
from tests.support.trained_runs import mark_as_running, record_end


@pytest.fixture(name="runs")
def fixture_runs(app: App):
    now = time.time()
    made = []
    for number, (name, status, loss) in enumerate((("corgi", "completed", 0.2), ("dog", "failed", 0.3), ("cat", "completed", 0.1))):
        run = make_run(
            app.outputs, name, status=status, base_model="pocket", learning_rate=f"{number + 1}e-4", timestamp=now - 60 - number,
        )  # fmt: skip
        run.progress.write_text(json.dumps({"phase": "training", "step": 9, "total_steps": 9, "loss": loss}) + "\n")
        made.append(run)
    return made


def names(page: Page):
    """Return the names in the table."""
    return page.locator("#runs tbody .name")


def open_runs(page: Page, app: App) -> None:
    page.goto(f"{app.url}#runs")
    expect(page.get_by_role("heading", name="All runs")).to_be_attached()
    expect(names(page).first).to_be_attached()


def test_filters_show_counts_and_sort(app, page, runs):
    open_runs(page, app)
    expect(names(page)).to_have_text(["corgi", "dog", "cat"])
    status = page.get_by_role("group", name="Status")
    expect(status.get_by_role("button")).to_have_text(["All 3", "Running 0", "Queued 0", "Failed 1", "Stopped 0", "Completed 2"])
    status.get_by_role("button", name="All 3").focus()
    page.keyboard.press("ArrowLeft")  # the last one
    expect(status.get_by_role("button", name="Completed 2")).to_be_focused()
    expect(names(page)).to_have_text(["corgi", "cat"])
    status.get_by_role("button", name="All 3").click()
    page.get_by_role("button", name="Loss").click()
    expect(names(page)).to_have_text(["cat", "corgi", "dog"])
    expect(page.locator("th[aria-sort]")).to_have_attribute("aria-sort", "ascending")
    page.get_by_role("button", name="Loss").click()
    expect(names(page)).to_have_text(["dog", "corgi", "cat"])
    page.get_by_label("Filter by name").fill("C")
    expect(names(page)).to_have_text(["corgi", "cat"])
    page.get_by_label("Filter by name").fill("emu")
    expect(page.get_by_text("No run matches.")).to_be_visible()


def test_filter_keeps_selection(app, page, runs):
    open_runs(page, app)
    page.get_by_label("Select corgi").check()
    page.get_by_label("Select dog").check()
    bar = page.get_by_role("region", name="Selected runs")
    expect(bar).to_contain_text("2 selected")
    page.get_by_label("Filter by name").fill("corgi")
    expect(names(page)).to_have_text(["corgi"])
    expect(bar).to_contain_text("2 selected, 1 not shown")
    page.get_by_label("Filter by name").fill("")
    expect(page.get_by_label("Select dog")).to_be_checked()
    bar.get_by_role("button", name="Forget").click()
    expect(names(page)).to_have_text(["cat"])
    expect(bar).to_be_hidden()
    page.get_by_role("button", name="Undo").click()
    expect(names(page)).to_have_text(["corgi", "dog", "cat"])


def test_two_runs_are_compared(app, page, runs):
    open_runs(page, app)
    page.get_by_label("Select corgi").check()
    bar = page.get_by_role("region", name="Selected runs")
    expect(bar.get_by_role("button", name="Compare")).to_be_disabled()
    page.get_by_label("Select cat").check()
    bar.get_by_role("button", name="Compare").click()
    card = page.get_by_role("region", name="Compare corgi and cat")
    expect(card.get_by_role("row", name="Learning rate 1e-4 3e-4")).to_be_visible()
    expect(card.get_by_role("row", name="Last loss 0.2000 0.1000")).to_be_visible()
    expect(card.get_by_role("row", name="Seed 42 42")).to_have_count(0)
    card.get_by_role("switch", name="Differences only").uncheck()
    expect(card.get_by_role("row", name="Seed 42 42")).to_be_visible()
    update_state(runs[0], {"seed": 7})
    page.evaluate("document.dispatchEvent(new CustomEvent('fg:changed'))")
    expect(card.get_by_role("row", name="Seed 7 42")).to_be_visible()
    bar.get_by_role("button", name="Forget").click()
    expect(card).to_be_hidden()


def test_latest_samples_of_compared_runs_are_side_by_side(app, page, runs):
    for run, step in zip(runs, (9, 9, 6), strict=True):
        run.samples.mkdir()
        run.sample_prompts.write_text("a cat\na hat\n")
        for number in range(2):
            Image.new("RGB", (64, 64), (90 * number, 60, 20 * step)).save(
                run.samples / f"{run.slug}_{step:06}_{number:02}_20250101000000_1.png"
            )
    open_runs(page, app)
    page.get_by_label("Select corgi").check()
    page.get_by_label("Select cat").check()
    page.get_by_role("button", name="Compare").click()
    samples = page.locator(".fg-compared-samples")
    expect(samples.locator(".h")).to_contain_text(["", "corgiStep 9", "catStep 6"])
    expect(samples.locator("img")).to_have_count(4)
    samples.get_by_role("button", name="cat: a hat").click()
    viewer = page.get_by_role("dialog", name="Sample viewer")
    expect(viewer.get_by_role("status")).to_have_text("corgi and cat: a hat")
    expect(viewer.get_by_role("img")).to_have_count(2)
    expect(viewer.get_by_role("button", name="Next run")).to_be_hidden()  # both are shown
    expect(viewer.get_by_text("↑ ↓ prompt · Esc closes")).to_have_text("↑ ↓ prompt · Esc closes")
    page.keyboard.press("ArrowUp")
    expect(viewer.get_by_role("status")).to_have_text("corgi and cat: a cat")
    page.keyboard.press("Escape")
    expect(viewer).to_be_hidden()


def test_two_runs_of_one_name_are_compared_by_their_folders(app, page, runs):
    update_state(runs[2], {"lora_name": "corgi"})
    open_runs(page, app)
    for box in page.get_by_label("Select corgi").all():
        box.check()
    page.get_by_role("button", name="Compare").click()
    card = page.get_by_role("region", name="Compare corgi and cat")
    expect(card.get_by_role("columnheader", name="cat")).to_be_visible()


def test_filter_by_name_counts_its_runs_and_compare_tells_why_it_is_not_possible(app, page, runs):
    open_runs(page, app)
    compare = page.get_by_role("button", name="Compare")
    page.get_by_label("Select all runs of this page").check()
    expect(compare).to_have_attribute("title", "Select two runs to compare them.")
    expect(compare).to_have_accessible_description("Select two runs to compare them.")
    expect(compare).to_be_disabled()
    page.get_by_label("Select dog").uncheck()
    expect(compare).to_be_enabled()
    page.get_by_label("Filter by name").fill("no such run")
    expect(page.get_by_text("No run matches.")).to_be_visible()
    expect(page.get_by_role("button", name="All 0", exact=True)).to_be_visible()


def test_several_runs_are_deleted_after_one_question(app, page, runs):
    open_runs(page, app)
    page.get_by_label("Select all runs of this page").check()
    page.get_by_role("region", name="Selected runs").get_by_role("button", name="Delete").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Delete 3 runs?")
    expect(dialog).to_contain_text("corgi, dog and cat")
    dialog.get_by_role("button", name="Delete ").click()
    expect(page.get_by_text("No runs on the list")).to_be_visible()
    assert not any(run.folder.exists() for run in runs)


def test_selected_live_run_is_reported_as_skipped(app, page, runs):
    mark_as_running(live := make_run(app.outputs, "dog-2", lora_name="dog", status="running"))
    open_runs(page, app)
    page.get_by_label("Select all runs of this page").check()
    bar = page.get_by_role("region", name="Selected runs")
    bar.get_by_role("button", name="Delete").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Delete 3 runs?")
    expect(dialog).to_contain_text("the folders of corgi, dog and cat")
    expect(dialog).to_contain_text("dog-2 is not included, because it has not ended.")
    dialog.get_by_role("button", name="Cancel").click()
    bar.get_by_role("button", name="Forget").click()
    expect(page.get_by_text("corgi, dog and cat are forgotten.")).to_be_visible()
    expect(page.get_by_text("dog-2 is not included, because it has not ended.")).to_be_visible()
    expect(names(page)).to_have_text(["dog-2"])
    record_end(live, "stopped")


def test_several_runs_are_exported_as_one_archive(app, page, runs):
    open_runs(page, app)
    page.get_by_label("Select all runs of this page").check()
    page.get_by_role("region", name="Selected runs").get_by_role("button", name="Export").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Settings only").click()
    assert download.value.suggested_filename == "fluxgym-runs-settings.zip"


def test_many_runs_are_paginated(app, page):
    for number in range(60):
        make_run(app.outputs, f"run-{number:02}", status="completed", timestamp=1000.0 + number)
    open_runs(page, app)
    expect(names(page)).to_have_count(25)
    expect(page.get_by_text("1–25 of 60")).to_be_visible()
    page.get_by_role("button", name="Next").click()
    expect(names(page).first).to_have_text("run-34")
    page.get_by_role("button", name="Next").click()
    expect(page.get_by_text("51–60 of 60")).to_be_visible()
    expect(page.get_by_role("button", name="Next")).to_be_disabled()
    page.get_by_label("Filter by name").fill("run-5")
    expect(names(page)).to_have_count(10)


@pytest.mark.parametrize("width", [390, 820, 1440, 2560])
def test_runs_page_does_not_scroll_horizontally(app, page, runs, width):
    make_run(app.outputs, "long-" + "x" * 59, status="failed", reason_code="nan", reason="A long reason. " * 20, lora_name="L" * 200)
    page.set_viewport_size({"width": width, "height": 900})
    for page_hash in ("#runs", "#train"):
        page.goto(app.url + page_hash)
        expect(page.locator("#fg-banner li.row").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_on_phone_only_first_row_is_full_and_every_row_has_its_next_step(app, page, runs):
    page.set_viewport_size({"width": 390, "height": 844})
    open_runs(page, app)
    rows = page.locator("#fg-banner li.row")
    expect(rows.nth(0).locator(".what")).to_be_visible()
    expect(rows.nth(1).locator(".what")).to_be_hidden()
    for index in range(3):
        expect(rows.nth(index).locator(".fg-buttons [data-action]:not(.not-phone)")).to_be_visible()
        expect(page.locator("#runs tbody tr").nth(index).locator(".fg-buttons [data-action]")).to_be_visible()


def test_failed_run_is_loaded_into_form(app, page, runs):
    open_runs(page, app)
    page.locator("#runs").get_by_role("button", name="Edit as new training: dog").click()
    expect(page.locator("#field-lora_name :is(input, textarea)").first).to_have_value("dog")
    expect(page.locator("html[data-fg-tab=train]")).to_be_attached()


def test_run_that_is_deleted_or_forgotten_is_not_selected_any_more(app, page, runs):
    open_runs(page, app)
    page.get_by_label("Select corgi").check()
    page.get_by_label("Select dog").check()
    bar = page.get_by_role("region", name="Selected runs")
    row = page.locator("#runs tbody tr").filter(has_text="corgi")
    row.get_by_role("button", name="More for").click()
    page.get_by_role("menuitem", name="Delete…").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete ").click()
    expect(bar).to_contain_text("1 selected")
    expect(bar).not_to_contain_text("not shown")
    page.goto(f"{app.url}#run/dog")
    page.get_by_role("region", name="dog").first.get_by_role("button", name="More for").click()
    page.get_by_role("menuitem", name="Forget").click()
    expect(page).to_have_url(f"{app.url}#runs")
    expect(names(page)).to_have_text(["cat"])


def test_new_training_on_page_of_runs_empties_form(app, page, runs):
    open_runs(page, app)
    expect(page.get_by_label("LoRA name")).to_have_value("corgi")
    page.get_by_role("button", name="New training", exact=True).first.click()
    expect(page).to_have_url(f"{app.url}#train")
    expect(page.get_by_label("LoRA name")).to_have_value("")


def test_row_names_step_once_however_many_digits_it_has(app, page):
    for name, reason in (("named", "Stopped by you at step 1100 of 1200."), ("unnamed", "Stopped by you.")):
        run = make_run(app.outputs, name, status="stopped", reason=reason, reason_code="user")
        run.progress.write_text('{"time": 1e9, "attempt": 1, "phase": "training", "step": 1100, "total_steps": 1200}\n')
    page.goto(f"{app.url}#runs")
    rows = page.locator("#fg-banner li.row")
    expect(rows.filter(has_text="unnamed")).to_contain_text("step 1,100 of 1,200")
    expect(rows.filter(has_text="1100 of 1200")).not_to_contain_text("1,200")


@pytest.mark.parametrize(
    ("with_loss", "sentence"), [(0, "No loss is known of one and two, so there is no chart."), (1, "No loss is known of two.")]
)
def test_a_comparison_of_runs_without_a_loss_says_so(app, page, with_loss, sentence):
    for number, name in enumerate(("one", "two")):
        run = make_run(app.outputs, name, status="stopped", base_model="pocket", timestamp=1000.0 - number)
        if number < with_loss:
            run.progress.write_text(json.dumps({"time": 1e9, "phase": "training", "step": 9, "total_steps": 9, "loss": 0.5}) + "\n")
    open_runs(page, app)
    for name in ("one", "two"):
        page.get_by_label(f"Select {name}", exact=True).check()
    page.get_by_role("button", name="Compare").click()
    card = page.get_by_role("region", name="Compare one and two")
    expect(card.locator(".fg-no-loss")).to_have_text(sentence)
    expect(card.locator(".uplot-box")).to_be_visible(visible=with_loss > 0)


@pytest.mark.parametrize("width", [390, 1440])
def test_bar_of_selected_runs_stays_visible_and_copies_have_a_filter(app, page, width):
    page.set_viewport_size({"width": width, "height": 900})
    parent = {"slug": "gone", "run_id": "x"}
    for number in range(25):
        make_run(app.outputs, f"run-{number:02}", status="stopped", timestamp=1000.0 + number, **({"parent": parent} if not number else {}))
    open_runs(page, app)
    page.get_by_label("Select run-24").check()
    page.get_by_label("Select run-00").scroll_into_view_if_needed()
    bar = page.get_by_role("region", name="Selected runs")
    expect(bar).to_be_in_viewport()
    navigation = page.get_by_role("navigation", name="Main").bounding_box()
    assert bar.bounding_box()["y"] >= navigation["y"] + navigation["height"]
    page.get_by_role("group", name="Status").get_by_role("button", name="Not started 1").click()
    expect(names(page)).to_have_text(["run-00"])


def test_loading_a_run_into_the_form_and_a_deletion_are_confirmed(app, page, runs):
    open_runs(page, app)
    page.locator("#runs").get_by_role("button", name="Edit as new training: dog").click()
    expect(page.get_by_label("LoRA name")).to_have_value("dog")
    page.locator(".toast", has_text="The form now has the settings and images of dog.").get_by_role("button", name="Undo").click()
    expect(page.get_by_label("LoRA name")).to_have_value("corgi")
    page.get_by_role("navigation").get_by_role("link", name="Runs").click()
    expect(page).to_have_title("Runs — FluxGym")
    page.locator("#runs tbody tr").filter(has_text="dog").get_by_role("button", name="More for").click()
    page.get_by_role("menuitem", name="Delete…").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete ").click()
    expect(page.get_by_text("dog is deleted.")).to_be_visible()

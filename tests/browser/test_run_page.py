"""A run's page in its states: running, completed, failed, stopped, a copy. Charts, samples with their viewer, log, and small changes only."""

import re
import shutil
import time

import pytest
from playwright.sync_api import Page, expect

from fluxgym.contract.codes import Status
from fluxgym.runs.state import update_state
from fluxgym.sessions.history import save_version
from tests.support.page import App, open_page
from tests.support.queue_line import Line
from tests.support.runs import make_run, write_checkpoint
from tests.support.trained_runs import make_trained_run, mark_as_running, record_end, train_step, write_line

COUNT_CHANGES = """() => {
  window.changes = [];
  const element = (node) => (node.nodeType === Node.TEXT_NODE ? node.parentElement : node);
  const note = (one) => element(one.target)?.closest(".fg-clock") || window.changes.push(`${one.type} ${element(one.target)?.className}`);
  const observer = new MutationObserver((list) => list.forEach(note));
  observer.observe(document.getElementById("fg-run-page"), { subtree: true, childList: true, attributes: true, characterData: true });
}"""
IS_AT_END = """() => [...document.querySelectorAll("#fg-run-page .log")].some(
  (log) => log.scrollTop > 0 && log.scrollHeight - log.scrollTop - log.clientHeight < 24)"""
INK = """(canvas) => {
  const all = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  return [...all].reduce((sum, value, index) => (sum * 31 + value * (index % 97)) % 1000000007, 7);
}"""


def card(page: Page, title: str):
    """Return a card of the run's page by its title."""
    return page.locator("#fg-run-page").get_by_role("region", name=title, exact=True)


# Buttons of the run's page that are cut off at the right, and prompts of samples that are scrolled away; a row of samples and a filter scroll.
OUT_OF_VIEW = """[...document.querySelectorAll("#fg-run-page :is(button, a.btn, .matrix > .p)")].filter((element) => {
  const { left, right } = element.getBoundingClientRect();
  return element.checkVisibility() && !element.closest(".pic, .seg") && (left < 0 || right > innerWidth);
}).map((element) => `${element.textContent} ${JSON.stringify(element.getBoundingClientRect())}`)"""


def show(page: Page, app: App, slug: str) -> None:
    """Open the page of a run."""
    page.goto(f"{app.url}#run/{slug}")
    expect(page.locator("#fg-run-page .fg-name:visible")).to_be_visible()


def poll(page: Page) -> None:
    """Make the page ask for changes once, and wait for the answer."""
    with page.expect_response(re.compile("/fluxgym/api/runs/")):
        page.evaluate("document.dispatchEvent(new CustomEvent('fg:changed'))")
    page.evaluate("new Promise(requestAnimationFrame)")


def poll_banner(page: Page) -> None:
    """Make the banner ask for changes once, and wait for the answer."""
    with page.expect_response(re.compile("/fluxgym/api/banner")):
        page.evaluate("document.dispatchEvent(new CustomEvent('fg:changed'))")
    page.evaluate("new Promise(requestAnimationFrame)")


def wait_for_other_ink(page: Page, before: int) -> None:
    """Wait until the chart of the loss looks different."""
    canvas = "document.querySelector('.uplot-box.tall canvas')"
    page.wait_for_function(f"(before) => {canvas} && ({INK})({canvas}) !== before", arg=before)


def test_running_page_shows_figures_charts_samples_and_files(app, page, running):
    show(page, app, "my-cat")
    head = page.locator(".fg-run-head:visible")
    expect(head.get_by_role("progressbar")).to_have_attribute("aria-label", "60 of 120 steps")
    expect(head).to_contain_text(re.compile("🟢.*Running", re.DOTALL))
    expect(head.locator(".stats")).to_contain_text(re.compile("Step.*60.*of 120.*Epoch.*3.*of 6", re.DOTALL))
    expect(head).to_contain_text("Pocket Flux")
    expect(card(page, "Loss").locator("canvas")).to_be_visible()
    expect(card(page, "Loss").locator(".legend")).to_contain_text("validation 0.3")
    expect(card(page, "Learning rate").locator(".legend")).to_contain_text("0.001")
    samples = card(page, "Samples")
    expect(samples.locator(".h")).to_contain_text(["", "Step 40", "Step 80"])
    expect(samples.locator(".pic img")).to_have_count(2)
    expect(samples.locator(".pic.wait")).to_have_count(2)
    expect(card(page, "LoRA files").locator("tbody tr")).to_contain_text(re.compile(r"2\s*40\s*0\.300"))
    train_step(running, 61, 120, time.time())
    expect(head.locator(".stats")).to_contain_text(re.compile("61.*of 120", re.DOTALL))


def test_run_that_is_stopping_shows_no_figures_of_further_steps(app, page, running):
    show(page, app, "my-cat")
    head = page.locator(".fg-run-head:visible")
    expect(head.locator(".stats")).to_contain_text(re.compile("Time left.*Speed", re.DOTALL))
    expect(card(page, "Samples").locator(".pic.wait")).to_have_count(2)
    running.stop.write_text("{}")
    expect(head).to_contain_text("Stopping")
    expect(head.locator(".stats")).to_contain_text("Loss")
    expect(head.locator(".stats")).not_to_contain_text(re.compile("Time left|Speed"))
    expect(card(page, "Samples").locator(".pic.wait")).to_have_count(0)
    head.get_by_role("button", name="Stop now").click()
    expect(page.get_by_role("dialog")).to_contain_text("There is no checkpoint, so all 60 steps are lost.")
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()


def test_poll_without_changes_keeps_dom_and_log_selection(app, page, running):
    show(page, app, "my-cat")
    expect(card(page, "Loss").locator("canvas")).to_be_visible()
    log = card(page, "Log").locator(".log")
    expect(log).to_contain_text("caching")
    poll(page)
    page.evaluate(COUNT_CHANGES)
    for _ in range(3):
        poll(page)
    assert page.evaluate("window.changes") == []
    page.evaluate("getSelection().selectAllChildren(document.querySelector('#fg-run-page .log mark, #fg-run-page .log .w'))")
    with running.training_log.open("a") as file:
        file.write("one more line\n\rsteps: 1\rsteps: 2")
    expect(log).to_contain_text("steps: 2")
    expect(log).not_to_contain_text("steps: 1")
    assert page.evaluate("getSelection().toString().trim()") == "WARNING: a warning"


def test_curve_of_one_step_is_drawn_and_continued(app, page):
    run = make_trained_run(app.outputs, "my-cat", last_step=0, status="running")
    mark_as_running(run)
    write_line(
        run, time=time.time(), phase="training", step=1, total_steps=120, epoch=1, loss=0.021, lr=8e-4
    )  # its smoothed value is rounded
    open_page(page, app, "#run/my-cat")
    chart = page.get_by_role("slider", name="Loss by step")
    expect(chart).to_have_attribute("aria-valuetext", re.compile(r"Step 1: raw 0\.021"))
    assert chart.locator("canvas").evaluate("(canvas) => canvas.width * canvas.height") > 0
    write_line(run, time=time.time(), phase="training", step=2, total_steps=120, epoch=1, loss=0.021, lr=8e-4)
    expect(chart).to_have_attribute("aria-valuenow", "2")
    shutil.rmtree(run.folder)  # nothing that could be stopped runs there


def test_loss_axis_smoothing_and_theme_redraw_chart(app, page, running):
    show(page, app, "my-cat")
    loss = card(page, "Loss")
    canvas = loss.locator("canvas")
    expect(canvas).to_be_visible()
    linear = canvas.evaluate(INK)
    loss.get_by_role("button", name="Linear").focus()
    page.keyboard.press("ArrowRight")
    expect(loss.get_by_role("button", name="Log")).to_have_attribute("aria-pressed", "true")
    expect(loss.get_by_role("button", name="Log")).to_be_focused()
    page.wait_for_function(
        f"(before) => {{ const canvas = document.querySelector('.uplot-box.tall canvas'); return canvas && ({INK})(canvas) !== before; }}",
        arg=linear,
    )
    light = canvas.evaluate(INK)
    page.emulate_media(color_scheme="dark")
    wait_for_other_ink(page, light)
    smoothed = loss.locator(".legend b").nth(1).text_content()
    loss.get_by_role("slider", name="Smoothing").fill("0")
    expect(loss.locator(".legend b").nth(1)).not_to_have_text(smoothed)
    assert loss.locator(".legend b").nth(1).text_content() == loss.locator(".legend b").nth(0).text_content()


def test_chart_values_are_read_by_pointer_and_by_arrow_keys(app, page, running):
    show(page, app, "my-cat")
    chart = page.get_by_role("slider", name="Loss by step")
    expect(chart.locator("canvas")).to_be_visible()
    expect(chart).to_have_attribute("aria-valuenow", "60")
    chart.focus()
    page.keyboard.press("ArrowLeft")
    expect(chart).to_have_attribute("aria-valuetext", re.compile("Step 59: raw 0.217"))
    page.keyboard.press("Home")
    expect(chart).to_have_attribute("aria-valuenow", "1")
    expect(card(page, "Loss").locator(".legend")).to_contain_text("Step 1")
    page.keyboard.press("Escape")
    expect(chart).to_have_attribute("aria-valuenow", "60")
    box = chart.locator(".u-over").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(card(page, "Loss").locator(".legend")).to_contain_text("Step 30")


def test_viewer_walks_steps_and_prompts_by_arrows_and_compares_two(app, page, done):
    show(page, app, "done-cat")
    card(page, "Choose another epoch").get_by_role("button", name="Step 80: sks cat on a windowsill").focus()
    page.keyboard.press("Enter")
    viewer = page.get_by_role("dialog", name="Sample viewer")
    title = viewer.get_by_role("status")
    expect(title).to_have_text("Step 80: sks cat on a windowsill")
    for key, expected in (("ArrowRight", "Step 120: sks cat on a windowsill"), ("ArrowDown", "Step 120: sks cat in a space suit"),
                          ("ArrowLeft", "Step 80: sks cat in a space suit"), ("ArrowUp", "Step 80: sks cat on a windowsill")):  # fmt: skip
        page.keyboard.press(key)
        expect(title).to_have_text(expected)
    viewer.get_by_role("button", name="Compare two").click()
    expect(title).to_have_text("Step 40 and Step 80: sks cat on a windowsill")
    expect(viewer.locator("img")).to_have_count(2)
    page.keyboard.press("ArrowRight")
    expect(title).to_have_text("Step 40 and Step 120: sks cat on a windowsill")
    with page.expect_download() as download:
        viewer.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename.startswith("done-cat_000120_00_")
    page.keyboard.press("Escape")
    expect(viewer).to_be_hidden()
    expect(card(page, "Choose another epoch").get_by_role("button", name="Step 80: sks cat on a windowsill")).to_be_focused()


def test_completed_page_shows_best_epoch_and_download_follows_choice(app, context, page, done):
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    show(page, app, "done-cat")
    result = page.get_by_role("region", name="done-cat is ready")
    expect(result).to_contain_text(re.compile("✅.*Completed", re.DOTALL))
    expect(result).to_contain_text("Trained in 1 min")
    expect(result).to_contain_text("validation loss of 0.210 is the lowest")
    expect(result.get_by_role("link", name="Download LoRA")).to_have_attribute("download", "done-cat-000004.safetensors")
    expect(result.locator("figcaption")).to_have_text("Step 80: sks cat on a windowsill")
    page.get_by_role("radio", name="done-cat.safetensors").check()
    expect(result).to_contain_text("You chose epoch 6, validation loss 0.250")
    expect(result.locator("figcaption")).to_have_text("Step 120: sks cat on a windowsill")
    expect(card(page, "Choose another epoch").get_by_role("radio", name="Step 120")).to_be_checked()
    with page.expect_download() as download:
        result.get_by_role("link", name="Download LoRA").click()
    assert download.value.suggested_filename == "done-cat.safetensors"
    result.get_by_role("button", name="Copy the trigger word").click()
    assert page.evaluate("navigator.clipboard.readText()") == "sks cat"
    expect(result.locator(".fg-path code")).to_have_text(str(done.lora))
    result.get_by_role("button", name="Copy the path").click()
    page.wait_for_function("async (path) => await navigator.clipboard.readText() === path", arg=str(done.lora))


def test_tab_title_shows_outcome_of_open_run_until_page_is_left(app, page, done):
    show(page, app, "done-cat")
    expect(page).to_have_title("Completed · done-cat — FluxGym")
    page.get_by_role("navigation").get_by_role("link", name="Train").click()
    expect(page).to_have_title("FluxGym")
    poll_banner(page)
    expect(page).to_have_title("FluxGym")


def test_history_shows_changes_of_each_version(app, page):
    run = make_run(app.outputs, "cat", status="stopped", base_model="pocket", vram="20G", max_train_epochs=4)
    for changes in ({"max_train_epochs": 9}, {"vram": "16G"}):
        save_version(run)
        update_state(run, changes)
    show(page, app, "cat")
    versions = card(page, "History").locator(".versions > li")
    expect(versions.locator("ul")).to_have_text(["GPU memory (VRAM): 20 or 24 GB card (20G) → 16 GB card (16G)", "Max train epochs: 4 → 9"])
    card(page, "Settings").get_by_text("All ", exact=False).click()
    expect(card(page, "Settings").locator("details dl")).to_contain_text("16 GB card (16G)")
    expect(card(page, "Settings").locator("details dl")).to_contain_text("Pocket Flux")


def test_completed_page_trains_further_only_with_checkpoint(app, page, done):
    show(page, app, "done-cat")
    further = page.get_by_role("button", name="Train further")
    expect(page.get_by_role("button", name="New training", exact=True).first).to_be_attached()
    expect(further).to_have_count(0)
    write_checkpoint(done, "done-cat-state", 120)
    further.click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("has trained 6 epochs")
    dialog.get_by_label("Epochs in total").fill("6")
    dialog.get_by_role("button", name="Train further").click()
    expect(dialog.get_by_role("alert")).to_contain_text("a whole number from 7 to 100000")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


def test_failed_page_shows_cause_log_excerpt_and_advice(app, page):
    run = make_trained_run(app.outputs, "dog", last_step=41, status="failed", reason_code="cuda_oom", reason="The GPU is full.")
    with run.training_log.open("a") as file:
        file.write("torch.OutOfMemoryError: CUDA out of memory.\nGPU 0: 104 MiB free\n")
    record_end(run, "failed", reason_code="cuda_oom", exit_code=1, last_step=41)
    show(page, app, "dog")
    cause = card(page, "The GPU ran out of memory after step 41")
    expect(cause).to_contain_text("The GPU is full.")
    expect(cause).to_contain_text("exit code 1")
    expect(cause.locator(".evidence")).to_have_text("torch.OutOfMemoryError: CUDA out of memory.\nGPU 0: 104 MiB free")
    advice = card(page, "What to do")
    expect(advice.locator("li").first).to_contain_text("Close other programs")
    advice.get_by_role("button", name="Edit as new training").click()
    expect(page.get_by_label("Trigger word/sentence")).to_have_value("sks cat")


def test_stopped_page_offers_to_resume_also_from_earlier_checkpoint(app, page):
    run = make_trained_run(
        app.outputs, "cat", last_step=80, status="stopped", reason_code="user", reason="Stopped by you at step 80 of 120."
    )
    for name, step in (("cat-000002-state", 40), ("cat-000004-state", 80)):
        write_checkpoint(run, name, step)
    record_end(run, "stopped", reason_code="user", exit_code=143, last_step=80)
    show(page, app, "cat")
    expect(card(page, "Stopped by you")).to_contain_text("at step 80 of 120")
    expect(card(page, "What to do").get_by_role("button", name="Resume from step 80")).to_be_visible()
    expect(card(page, "LoRA files").get_by_role("button", name="Resume from here")).to_have_count(1)
    card(page, "LoRA files").get_by_role("button", name="Resume from here").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Resume cat from step 40?")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Escape")


def test_copy_that_was_not_started_is_reported_and_shows_what_differs(app, page, done):
    copy = make_run(
        app.outputs, "copy", base_model="pocket", max_train_epochs=9, status="stopped", parent={"slug": "done-cat", "run_id": "x"}
    )
    show(page, app, "copy")
    expect(page.locator(".fg-run-head:visible")).to_contain_text("Not started")
    expect(card(page, "Not started yet")).to_be_visible()
    expect(card(page, "Settings")).to_contain_text("done-cat: 6")
    expect(card(page, "Log")).to_have_count(0)
    card(page, "Settings").get_by_text("All ", exact=False).click()
    expect(card(page, "Settings").locator("details dl")).to_contain_text("Base model")
    update_state(copy, {"max_train_epochs": 6})
    expect(card(page, "Settings")).not_to_contain_text("done-cat: 6")


def test_log_is_searched_and_downloaded_complete_and_stops_following_when_scrolled(app, page, running):
    with running.training_log.open("a") as file:
        file.writelines(f"line {number} of many\n" for number in range(9000))
    show(page, app, "my-cat")
    log = card(page, "Log")
    text = log.locator(".log")
    expect(text).to_contain_text("line 8999 of many")
    page.wait_for_function(
        "() => { const log = document.querySelector('#fg-run-page .log'); return log.scrollHeight - log.scrollTop - log.clientHeight < 24; }"
    )
    log.get_by_label("Search the log").fill("LINE 8999")
    expect(text).to_have_text("line 8999 of many\n")
    expect(log.get_by_role("status")).to_contain_text("1 of ")
    log.get_by_label("Search the log").fill("")
    expect(text).to_contain_text("line 8998 of many")
    text.evaluate("(log) => { log.scrollTop = 100; }")
    expect(log.get_by_role("switch", name="Follow")).not_to_be_checked()
    log.get_by_role("switch", name="Follow").check()
    page.wait_for_function(
        "() => { const log = document.querySelector('#fg-run-page .log'); return log.scrollHeight - log.scrollTop - log.clientHeight < 24; }"
    )
    with page.expect_download() as download:
        log.get_by_role("link", name="Download the whole log").click()
    assert download.value.path().read_bytes() == running.training_log.read_bytes()


def test_run_that_was_deleted_or_never_existed_is_shown_as_missing(app, page, done):
    page.goto(f"{app.url}#run/nothing")
    expect(page.locator(".fg-run-none")).to_contain_text("There is no run “nothing”")
    page.evaluate("location.hash = '#run/done-cat'")
    expect(page.get_by_role("heading", name="done-cat is ready")).to_be_visible()
    done.ui_state.unlink()
    expect(page.locator(".fg-run-none")).to_contain_text("There is no run “done-cat”.")


@pytest.mark.parametrize("width", [390, 720, 1440, 2560])
def test_no_page_state_scrolls_horizontally(app, page, running, done, width):
    make_trained_run(
        app.outputs, "a-dog-with-quite-a-long-name-that-goes-on", last_step=41, status="failed", reason_code="nan", reason="x" * 300
    )
    page.set_viewport_size({"width": width, "height": 900})
    for slug in ("my-cat", "done-cat", "a-dog-with-quite-a-long-name-that-goes-on"):
        show(page, app, slug)
        expect(card(page, "Loss").locator("canvas")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), slug
        assert page.evaluate(OUT_OF_VIEW) == [], slug


def test_real_training_is_followed_to_its_end(app, page):
    open_page(page, app)
    page.locator("#fg-example").click()
    expect(page.locator(".fg-image")).to_have_count(8)
    page.get_by_label("LoRA name").fill("Real")
    page.get_by_label("Max train epochs").fill("4")
    page.get_by_label("Sample image every N steps").fill("10")
    page.locator("#start").click()
    expect(page.get_by_role("heading", name="Real", exact=True)).to_be_visible()
    expect(page.get_by_role("heading", name="Real is ready")).to_be_visible(timeout=240_000)
    expect(card(page, "Loss").locator("canvas")).to_be_visible()
    assert page.locator("#fg-run-page .matrix img").first.evaluate("(image) => image.decode().then(() => image.naturalWidth)") == 64
    with page.expect_download() as download:
        page.get_by_role("link", name="Download LoRA").click()
    assert download.value.suggested_filename == "real.safetensors"
    page.reload()
    expect(page.get_by_role("heading", name="Real is ready")).to_be_visible()


def test_page_of_waiting_run_reports_no_missing_process_and_cancels_it(app, page):
    line = Line(app.outputs)
    first = line.start("first")
    line.wait_for(first, Status.RUNNING)
    (second,) = line.start_waiting("second")
    page.goto(f"{app.url}#run/second")
    expect(page.get_by_text("Waiting for the CPU, which “first” uses; it is next.").first).to_be_visible()
    page.get_by_text("Monitor", exact=True).click()
    expect(page.get_by_text("The run waits in the queue, so no process watches it yet.")).to_be_visible()
    page.locator(".fg-run-head:visible").get_by_role("button", name="Cancel: second").click()
    expect(page.get_by_text("second left the queue.")).to_be_visible()
    line.wait_for(second, Status.STOPPED)
    expect(page.get_by_role("button", name="Undo")).to_be_visible()

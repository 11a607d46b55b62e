"""Dialogs that only come up in rare situations: consent before a resume, removed runs, and an existing name."""

import os
import time
from dataclasses import replace

import pytest
from playwright.sync_api import Page, expect

from fluxgym.runs.launch_spec import read_launch_spec, read_own_launch_spec
from fluxgym.runs.state import read_state
from fluxgym.sessions.forget import forget
from tests.support.page import App, open_page
from tests.support.runs import dead_process, make_run, record_processes, write_checkpoint
from tests.support.trained_runs import make_trained_run, record_end

SIZES = [{"width": 390, "height": 844}, {"width": 1440, "height": 900}]
# Texts inside of an open dialog that are cut off, and buttons that reach over its edge.
CUT = """[...document.querySelectorAll("dialog[open] :is(h2, p, button, code, b)")].filter((element) => {
  const box = element.closest("dialog").getBoundingClientRect();
  const { left, right } = element.getBoundingClientRect();
  if (!element.checkVisibility()) return false;
  return left < box.left || right > box.right || element.scrollWidth > element.clientWidth + 1 && getComputedStyle(element).display !== "inline";
}).map((element) => element.textContent)"""


def stopped_run(app: App, **state: object):
    """Make a run that was stopped at step 20 of 120 and has a checkpoint."""
    run = make_trained_run(app.outputs, "my-cat", last_step=20, status="stopped", reason_code="user", reason="Stopped by you.", **state)
    write_checkpoint(run, "my-cat-000001-state", 20)
    return run


def show(page: Page, app: App, size: dict[str, int], theme: str = "light") -> None:
    """Open the page of the run in a window of a size."""
    page.set_viewport_size(size)  # type: ignore[arg-type]
    page.goto(f"{app.url}?__theme={theme}#run/my-cat")
    expect(page.locator("#fg-run-page .fg-name:visible")).to_be_visible()


def resume_button(page: Page):
    """Return the button that resumes the run whose page is open."""
    return page.get_by_role("region", name="What to do").get_by_role("button", name="Resume from step 20")


@pytest.mark.parametrize("size", SIZES, ids=["phone", "desktop"])
def test_run_that_writes_elsewhere_is_resumed_only_after_consent(app, page, tmp_path, size):
    log = tmp_path / "console.log"
    run = stopped_run(app, advanced={"console_log_file": str(log)})
    record_end(run, "stopped", reason_code="user", exit_code=143, last_step=20)
    show(page, app, size)
    resume_button(page).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("This training names code of its own")
    expect(dialog).to_contain_text(f"writes to “{log}”"[:60])
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    assert page.evaluate(CUT) == []
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(resume_button(page)).to_be_focused()
    expect(page.locator(".toast, #fg-run-page .fg-message")).to_have_count(0)  # the user knows
    assert (read_launch_spec(run), read_state(run)["status"]) == (None, "stopped")
    resume_button(page).click()
    dialog.get_by_role("button", name="Run it").click()
    expect(dialog).to_have_count(0)
    expect(page.get_by_role("status").filter(has_text="It resumes from my-cat-000001-state")).to_be_visible()
    own = read_own_launch_spec(run)
    assert own is not None
    assert own.options["--console_log_file"] == (str(log),)


def test_consent_that_is_refused_keeps_question_about_checkpoint(app, page, tmp_path):
    run = stopped_run(app, advanced={"console_log_file": str(tmp_path / "console.log")})
    write_checkpoint(run, "my-cat-step00000040-state", 40)
    record_end(run, "stopped", reason_code="user", exit_code=143, last_step=40)
    (run.folder / "my-cat-000001.safetensors").write_bytes(b"x")
    show(page, app, SIZES[1])
    page.get_by_role("button", name="Resume from here…").click()
    page.get_by_role("dialog").get_by_role("button", name="Resume from step 20").click()
    consent = page.get_by_role("dialog", name="This training names code of its own")
    consent.get_by_role("button", name="Cancel").click()
    question = page.get_by_role("dialog", name="Resume my-cat from step 20?")
    expect(question.get_by_role("alert")).to_contain_text("this installation did not start it so")
    question.get_by_role("button", name="Resume from step 20").click()
    consent.get_by_role("button", name="Run it").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert read_own_launch_spec(run) is not None


@pytest.mark.parametrize("size", SIZES, ids=["phone", "desktop"])
def test_run_of_another_machine_is_taken_over_only_after_consent(app, page, size):
    run = stopped_run(app)
    there = replace(dead_process("id-my-cat"), host="pod-7f3a", boot_id="x", machine_id="y")
    record_processes(run, "id-my-cat", 1, there, there)
    run.ui_state.write_text(run.ui_state.read_text().replace('"stopped"', '"running"'))
    for path in (run.progress, run.training_log, run.monitor_log):
        path.touch()
        os.utime(path, (time.time() - 3600,) * 2)
    show(page, app, size, "dark")
    resume_button(page).click()
    dialog = page.get_by_role("dialog", name="This training ran on another machine")
    expect(dialog).to_contain_text("pod-7f3a; its last sign of life was at")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    assert page.evaluate(CUT) == []
    dialog.get_by_role("button", name="Cancel").click()
    assert read_launch_spec(run) is None
    resume_button(page).click()
    dialog.get_by_role("button", name="Take over").click()
    expect(dialog).to_have_count(0)
    expect(page.locator(".fg-run-head:visible")).not_to_contain_text("Stopped")
    assert read_own_launch_spec(run) is not None


@pytest.mark.parametrize("size", SIZES, ids=["phone", "desktop"])
def test_removed_runs_list_reason_and_content_and_existing_name_is_reported(app, page, size):
    for name in ("my-cat", "a-rather-long-name-of-a-run-that-wraps-on-a-phone"):
        run = make_run(app.outputs, name, status="stopped", timestamp=time.time() - 60)
        run.lora.write_bytes(b"x")
        forget(run)
    page.set_viewport_size(size)
    open_page(page, app)
    page.get_by_role("button", name="More for all sessions").click()
    page.get_by_role("menuitem", name="Removed runs").click()
    dialog = page.get_by_role("dialog", name="Removed runs")
    expect(dialog.get_by_role("listitem")).to_have_count(2)
    expect(dialog.get_by_role("listitem").first).to_contain_text("1 LoRA file")
    assert page.evaluate(CUT) == []
    dialog.get_by_role("button", name="Put back my-cat").click()
    expect(dialog.get_by_role("button", name="Put back my-cat")).to_have_text("On the list as my-cat")
    assert page.evaluate(CUT) == []
    page.keyboard.press("Escape")
    expect(page.locator("#fg-banner .sum")).to_contain_text("1 run")


def test_choices_about_existing_name_are_aligned(app, page):
    make_run(app.outputs, "my-cat", status="completed", timestamp=1, base_model="pocket")
    open_page(page, app)
    page.locator("#fg-example").click()
    page.get_by_label("LoRA name").fill("My Cat")
    expect(page.locator("#fg-expected-steps")).to_contain_text("steps")
    page.locator("#start").click(force=True)
    expect(page.locator(".fg-choice")).to_contain_text("exists already")
    lefts = page.evaluate(
        "[...document.querySelectorAll('.fg-choices :is(span, small)')].map((text) => Math.round(text.getBoundingClientRect().left))"
    )
    assert len(lefts) >= 4
    assert len(set(lefts)) == 1


def test_dialog_and_menu_close_when_another_page_is_opened(app, page):
    stopped_run(app)
    page.goto(f"{app.url}#runs")
    page.get_by_role("link", name="my-cat").first.click()
    more = page.locator("#fg-run-page").get_by_role("button", name="More for my-cat")
    more.click()
    page.get_by_role("menuitem", name="History…").click()
    expect(page.get_by_role("dialog", name="Earlier settings of my-cat")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.locator("#runs")).to_be_visible()
    page.go_forward()
    more.click()
    page.go_back()
    expect(page.get_by_role("menu")).to_have_count(0)

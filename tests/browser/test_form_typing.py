"""No answer overwrites what is typed: every field type, at several latencies, in two tabs, and while the app is down."""

import re

import pytest
from playwright.sync_api import Page, expect

from fluxgym.ui.api.assets import read_assets
from tests.support.page import HOLD_ANSWER, App, open_page
from tests.support.runs import make_run

# Each answer of the app to the form is held back for a while, as over a slow line.
SLOW = """(() => {
  const send = window.fetch;
  window.fetch = async (resource, options) => {
    const answer = await send(resource, options);
    if (String(resource?.url ?? resource).includes("/run/")) await new Promise((resolve) => setTimeout(resolve, %d));
    return answer;
  };
})()"""
KEY_MS = 30


@pytest.fixture(params=[0, 300, 800], ids=lambda ms: f"{ms} ms")
def slow_page(page, request) -> Page:
    """Return a tab whose form is answered late."""
    page.add_init_script(SLOW % request.param)
    return page


def type_over(page: Page, label: str, text: str) -> None:
    """Replace a field's text key by key."""
    field = page.get_by_label(label, exact=True)
    field.click()
    page.keyboard.press("Control+a")
    page.keyboard.type(text, delay=KEY_MS)


def choose(page: Page, name: str, option: str) -> None:
    """Choose an option of a dropdown."""
    page.locator(f"#field-{name} input").click()
    page.get_by_role("option", name=option, exact=True).click()


def wait_until_saved(page: Page) -> None:
    """Wait until the app has confirmed everything that was typed."""
    page.wait_for_function("localStorage.getItem('fluxgym.unsent') === null")


def expect_values(page: Page) -> None:
    """Expect what test_typing_in_every_kind_of_field types."""
    for label, value in (
        ("LoRA name", "blue pottery"), ("Trigger word/sentence", "bluepot style"), ("Repeat trains per image", "7"),
        ("Max train epochs", "12"), ("Sample image prompts (one per line)", "one\ntwo, three"), ("Learning rate", "3e-4"),
        ("Guidance scale", "2.5"), ("Timestep sampling", "sigmoid"), ("GPU memory (VRAM)", "16 GB card (16G)"),
    ):  # fmt: skip
        expect(page.get_by_label(label, exact=True)).to_have_value(value)
    expect(page.get_by_label("Enable monitoring")).not_to_be_checked()


def test_typing_in_every_field_type_is_not_overwritten(app, slow_page):
    page = slow_page
    open_page(page, app)
    type_over(page, "LoRA name", "blue pottery")
    type_over(page, "Trigger word/sentence", "bluepot style")
    type_over(page, "Repeat trains per image", "7")
    type_over(page, "Max train epochs", "12")
    type_over(page, "Sample image prompts (one per line)", "one\ntwo, three")
    choose(page, "vram", "16 GB card (16G)")
    page.get_by_role("button", name="Advanced", exact=True).click()
    type_over(page, "Learning rate", "3e-4")
    type_over(page, "Guidance scale", "2.5")
    choose(page, "timestep_sampling", "sigmoid")
    page.get_by_label("Enable monitoring").uncheck()
    wait_until_saved(page)
    expect_values(page)
    page.reload()
    expect_values(page)


def test_typing_while_model_defaults_arrive_is_not_overwritten(app, slow_page):
    page = slow_page
    open_page(page, app)
    expect(page.get_by_label("Max train epochs")).to_have_value("32")  # the pocket model's
    choose(page, "base_model", "FLUX.1 dev")
    type_over(page, "Max train epochs", "12")
    type_over(page, "Repeat trains per image", "7")
    expect(page.get_by_label("Resize dataset images")).to_have_value("512")
    wait_until_saved(page)
    expect(page.get_by_label("Max train epochs")).to_have_value("12")
    expect(page.get_by_label("Repeat trains per image")).to_have_value("7")


def test_selection_survives_replacement_of_text(app, page):
    open_page(page, app)
    page.evaluate(HOLD_ANSWER, "model")
    choose(page, "base_model", "FLUX.1 dev")
    page.wait_for_function("typeof window.release === 'function'")
    epochs = page.get_by_label("Max train epochs")
    epochs.click()
    page.keyboard.press("Control+a")
    page.evaluate("window.release()")
    expect(epochs).to_have_value("16")
    page.wait_for_function("document.activeElement.selectionEnd > document.activeElement.selectionStart")
    page.keyboard.type("12")
    expect(epochs).to_have_value("12")


def test_two_tabs_keep_separate_values(app, context, page):
    open_page(page, app)
    other = context.new_page()
    open_page(other, app)
    type_over(page, "LoRA name", "first")
    type_over(other, "LoRA name", "second")
    type_over(page, "Repeat trains per image", "7")
    wait_until_saved(page)
    expect(page.get_by_label("LoRA name")).to_have_value("first")
    expect(other.get_by_label("LoRA name")).to_have_value("second")
    expect(other.get_by_label("Repeat trains per image")).to_have_value("10")


def test_typing_during_restart_is_sent_after_reconnect(app: App, page):
    open_page(page, app)
    type_over(page, "LoRA name", "before")
    wait_until_saved(page)
    app.kill()
    type_over(page, "LoRA name", "typed while away")
    expect(page.locator(".fg-connection")).to_have_text("Connection lost. Retrying. A running training does not depend on this page.")
    expect(page.locator(".fg-connection")).to_be_visible()
    app.start()
    expect(page.locator(".fg-connection")).to_be_hidden()
    wait_until_saved(page)
    expect(page.get_by_label("LoRA name")).to_have_value("typed while away")
    page.evaluate("localStorage.removeItem('fluxgym.unsent')")
    page.reload()
    expect(page.get_by_label("LoRA name")).to_have_value("typed while away")


def test_choices_made_while_app_is_down_are_sent_after_reconnect(app: App, page):
    open_page(page, app)
    page.get_by_role("button", name="Advanced", exact=True).click()
    app.kill()
    choose(page, "vram", "16 GB card (16G)")
    choose(page, "timestep_sampling", "sigmoid")
    page.get_by_label("Enable monitoring").uncheck()
    expect(page.locator(".fg-draft")).to_have_text("Not saved yet; kept in this browser")
    app.start()
    expect(page.locator(".fg-connection")).to_be_hidden()
    wait_until_saved(page)
    page.reload()
    expect(page.get_by_label("GPU memory (VRAM)", exact=True)).to_have_value("16 GB card (16G)")
    expect(page.get_by_label("Timestep sampling", exact=True)).to_have_value("sigmoid")
    expect(page.get_by_label("Enable monitoring")).not_to_be_checked()


@pytest.mark.parametrize(
    "script",
    [
        "Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); };",
        "for (const name of ['getItem', 'setItem', 'removeItem']) Storage.prototype[name] = () => { throw new DOMException('', 'SecurityError'); };",
    ],
    ids=["full", "blocked"],
)
def test_browser_without_storage_is_reported(app: App, page, script):
    page.add_init_script(script)
    open_page(page, app)
    type_over(page, "LoRA name", "cat")
    expect(page.locator(".fg-draft")).to_have_text("Saved for this tab only; this browser keeps nothing")
    app.kill()
    type_over(page, "LoRA name", "dog")
    expect(page.locator(".fg-draft")).to_have_text("Not saved yet; leave this tab open")


def test_start_is_enabled_again_after_response_with_message_only(app: App, page):
    open_page(page, app)
    page.evaluate("""() => {
      window.answers = [];
      document.addEventListener("fg:answer", ({ detail }) => { if (detail.kind === "start") window.answers.push(detail); });
    }""")
    odd = re.compile(r'("draft":\s*")[0-9a-f]{32}"')
    page.route("**/run/**", lambda route: route.continue_(post_data=odd.sub(r'\1odd"', route.request.post_data or "")))
    for number in (1, 2):
        page.locator("#start").dispatch_event("click")
        page.wait_for_function("(number) => window.answers.length === number", arg=number, timeout=10_000)
    assert all("reload the page" in answer["message"] and "errors" not in answer for answer in page.evaluate("window.answers"))


def test_start_while_app_is_down_is_refused_at_once_and_works_after_reconnect(app: App, page):
    open_page(page, app)
    page.locator("#fg-example").click()
    expect(page.locator("#fg-expected-steps")).to_be_visible()
    wait_until_saved(page)
    app.kill()
    expect(page.locator(".fg-connection")).to_be_visible()
    for _ in range(2):
        page.locator("#start").click()
        expect(page.locator(".toast", has_text="Nothing was started")).to_contain_text(
            "The app does not answer. Nothing was started; press Start again when it is back."
        )
        page.locator(".toast").evaluate_all("toasts => toasts.forEach((toast) => toast.remove())")
    app.start()
    expect(page.locator(".fg-connection")).to_be_hidden()
    assert not any(app.outputs.glob("example-cat"))
    expect(page.locator("#fg-expected-steps")).to_be_visible()
    page.locator("#start").click()
    expect(page).to_have_url(re.compile("#run/example-cat$"))


def test_page_is_not_reloaded_after_restart_and_sends_every_event(app: App, page):
    open_page(page, app)
    page.evaluate("window.isFirst = true")
    app.kill()
    type_over(page, "LoRA name", "cat")  # Gradio's request fails
    choose(page, "vram", "16 GB card (16G)")
    expect(page.locator(".fg-connection")).to_be_visible()
    page.evaluate(f"import('{read_assets().script}').then(({{ modules }}) => modules.form.send('apply_template', {{ name: 'any' }}))")
    expect(page.locator(".toast")).to_have_text("Connection lost. Try again when the page has reconnected.")
    app.start()
    expect(page.locator(".fg-connection")).to_be_hidden()
    wait_until_saved(page)
    page.get_by_role("button", name="More for this form").click()
    page.get_by_role("menuitem", name="New training").click()
    page.get_by_role("button", name="Replace", exact=True).click()
    expect(page.get_by_label("LoRA name")).to_have_value("")
    assert page.evaluate("window.isFirst")


def test_start_with_an_answer_of_a_proxy_says_so_and_next_press_works(app: App, page):
    open_page(page, app)
    page.locator("#fg-example").click()
    expect(page.locator("#fg-expected-steps")).to_be_visible()
    wait_until_saved(page)
    page.route(
        "**/gradio_api/run/**", lambda route: route.fulfill(status=502, body="<html>") if is_start(route.request) else route.continue_()
    )
    page.locator("#start").click()
    expect(page.locator(".toast", has_text="The proxy in front of FluxGym got no answer")).to_have_count(1)
    page.unroute("**/gradio_api/run/**")
    page.locator("#start").click()
    expect(page).to_have_url(re.compile("#run/example-cat$"))


def test_page_of_an_earlier_version_is_reloaded_once(app: App, page):
    def as_other_version(route):
        answer = route.fetch()
        route.fulfill(response=answer, headers=answer.headers | {"fluxgym-page": "0123456789ab"})

    open_page(page, app)
    page.evaluate("window.isFirst = true")
    type_over(page, "LoRA name", "cat")
    page.route("**/fluxgym/api/banner**", as_other_version)
    page.wait_for_function("!window.isFirst")
    expect(page.get_by_label("LoRA name")).to_have_value("cat")
    page.evaluate("window.isSecond = true")
    with page.expect_response("**/fluxgym/api/banner**") as answered:
        pass
    answered.value.finished()
    type_over(page, "LoRA name", "dog")
    wait_until_saved(page)
    assert page.evaluate("window.isSecond")


def test_page_of_an_earlier_version_is_reloaded_after_the_upload(app: App, page, cats):
    def as_other_version(route):
        answer = route.fetch()
        route.fulfill(response=answer, headers=answer.headers | {"fluxgym-page": "0123456789ab"})

    open_page(page, app)
    page.evaluate("window.isFirst = true")
    page.route("**/fluxgym/drafts/**", as_other_version)  # the answers to the uploaded files
    page.locator("#fg-file").set_input_files(cats)
    page.wait_for_function("!window.isFirst")
    expect(page.locator(".fg-image")).to_have_count(len(cats))


def is_start(request):
    """Return True for the request that the button Start sends."""
    return '"kind":"start"' in (request.post_data or "")


def test_start_without_answer_is_reported_and_next_press_works_after_reconnect(app: App, page):
    open_page(page, app)
    page.locator("#fg-example").click()
    expect(page.locator("#fg-expected-steps")).to_be_visible()
    wait_until_saved(page)
    odd = re.compile(r'("draft":\s*")[0-9a-f]{32}"')  # refused, so that the form stays as it is
    page.route("**/run/**", lambda route: route.continue_(post_data=odd.sub(r'\1odd"', route.request.post_data or "")))
    page.evaluate(HOLD_ANSWER, "start")
    with page.expect_request(is_start):
        page.locator("#start").click()
    for connected in ("false", "true"):
        page.evaluate(f"document.dispatchEvent(new CustomEvent('fg:connection', {{ detail: {connected} }}))")
    expect(page.locator(".toast", has_text="The connection was lost before the app answered to Start.")).to_have_count(1)
    with page.expect_request(is_start):
        page.locator("#start").dispatch_event("click")


@pytest.mark.parametrize("kind", ["start", "save_template"])
def test_event_result_is_shown_if_responses_arrive_out_of_order(app: App, page, kind):
    open_page(page, app)
    page.locator("#fg-example").click()
    expect(page.locator("#fg-expected-steps")).to_be_visible()
    page.evaluate(HOLD_ANSWER, kind)
    if kind == "start":
        page.locator("#start").click()
    else:
        page.evaluate(
            f"import('{read_assets().script}').then(({{ modules }}) => modules.form.send('save_template', {{ name: 'my template' }}))"
        )
    page.wait_for_function("typeof window.release === 'function'")
    page.get_by_label("Max train epochs").fill("7")
    wait_until_saved(page)
    page.evaluate("window.release()")
    if kind == "start":
        expect(page).to_have_url(re.compile("#run/example-cat$"))
    else:
        expect(page.locator(".toast")).to_contain_text("Saved as the template")


def test_the_state_of_the_draft_is_true_after_each_event(app: App, page):
    open_page(page, app)
    draft = page.locator(".fg-draft")
    expect(draft).to_have_text("")
    type_over(page, "LoRA name", "cat")
    expect(draft).to_have_text(re.compile(r"Draft saved \d\d:\d\d"))
    page.get_by_role("button", name="Advanced", exact=True).click()
    with page.expect_request(lambda request: '"kind":"check"' in (request.post_data or "")) as checked:
        type_over(
            page, "Other flags of the trainer", 'optimizer_args = ["weight_decay=0.01"]'
        )  # the trainer checks it, in an event of its own
    checked.value.response().finished()
    expect(page.get_by_text("Images and settings are being checked")).to_be_hidden()
    expect(draft).to_have_text(re.compile(r"Draft saved \d\d:\d\d"))
    app.kill()
    type_over(page, "LoRA name", "dog")
    expect(draft).to_have_text("Not saved yet; kept in this browser")
    app.start()
    expect(draft).to_have_text(re.compile(r"Draft saved \d\d:\d\d"))


def test_typing_on_without_an_answer_does_not_keep_saying_that_the_draft_is_saved(app: App, page):
    open_page(page, app)
    type_over(page, "LoRA name", "cat")
    expect(page.locator(".fg-draft")).to_have_text(re.compile(r"Draft saved"))
    page.evaluate(HOLD_ANSWER, "typed")
    page.evaluate("""() => { const field = document.querySelector('#field-lora_name input, #field-lora_name textarea');
      setInterval(() => { field.value += 'x'; field.dispatchEvent(new Event('input', { bubbles: true })); }, 100); }""")
    expect(page.locator(".fg-draft")).to_have_text("Not saved yet; kept in this browser")


@pytest.mark.parametrize("is_phone", [False, True])
def test_an_emptied_form_is_empty_after_a_reload(app: App, page, is_phone):
    if is_phone:
        page.set_viewport_size({"width": 390, "height": 844})
    make_run(app.outputs, "cat", status="stopped", concept_sentence="sks cat", base_model="pocket")
    open_page(page, app)
    expect(page.get_by_label("Trigger word/sentence")).to_have_value("sks cat")
    page.get_by_role("button", name="More for this form").click()
    page.get_by_role("menuitem", name="New training").click()
    expect(page.get_by_label("Trigger word/sentence")).to_have_value("")
    page.reload()
    expect(page.locator("html[data-fg-form]")).to_be_attached()
    expect(page.get_by_label("Trigger word/sentence")).to_have_value("")
    type_over(page, "Trigger word/sentence", "sks dog")
    wait_until_saved(page)
    page.reload()
    expect(page.get_by_label("Trigger word/sentence")).to_have_value("sks dog")

"""Files that are dropped again, in a real browser: no image is replaced, each surprise is reported, and Undo takes it back."""

from base64 import b64encode

from playwright.sync_api import expect

from tests.support.page import DROP_FOLDERS, drop_files, open_page


def toast(page, text):
    """Return the notice that contains a text."""
    return page.locator(".toast", has_text=text)


def test_other_image_of_the_same_name_is_kept_beside_the_first_with_its_caption_until_undo(app, page, cats):
    open_page(page, app)
    drop_files(page, {"cat.png": cats[0].read_bytes(), "cat.txt": b"the first"})
    expect(page.get_by_label("Caption of cat.png")).to_have_value("the first")
    drop_files(page, {"cat.png": cats[1].read_bytes(), "cat.txt": b"the second"})
    expect(page.get_by_label("Caption of cat-2.png")).to_have_value("the second")
    expect(page.get_by_label("Caption of cat.png")).to_have_value("the first")
    added = toast(page, "cat.png was added as cat-2.png, because another image has its name.")
    added.get_by_role("button", name="Undo").click()
    expect(page.locator(".fg-image")).to_have_count(1)
    expect(page.get_by_label("Caption of cat.png")).to_have_value("the first")
    expect(added).to_have_count(0)


def test_same_image_is_not_added_again(app, page, cats):
    open_page(page, app)
    drop_files(page, {"cat.png": cats[0].read_bytes()})
    expect(page.locator(".fg-image")).to_have_count(1)
    drop_files(page, {"cat.png": cats[0].read_bytes()})
    shown = toast(page, "cat.png is already there.")
    expect(shown).to_be_visible()
    expect(shown.get_by_role("button")).to_have_count(0)  # there is nothing to undo
    expect(page.locator(".fg-image")).to_have_count(1)


def test_dropped_caption_replaces_the_earlier_one_until_undo(app, page, cats):
    open_page(page, app)
    drop_files(page, {"cat.png": cats[0].read_bytes(), "cat.txt": b"the first"})
    expect(page.get_by_label("Caption of cat.png")).to_have_value("the first")
    drop_files(page, {"cat.txt": b"the second"})
    expect(page.get_by_label("Caption of cat.png")).to_have_value("the second")
    toast(page, "The caption cat.txt was replaced.").get_by_role("button", name="Undo").click()
    expect(page.get_by_label("Caption of cat.png")).to_have_value("the first")


def test_caption_of_a_refused_image_is_not_given_to_another_one(app, page, cats):
    open_page(page, app)
    drop_files(page, {"cat.png": cats[0].read_bytes(), "cat.txt": b"the first"})
    expect(page.get_by_label("Caption of cat.png")).to_have_value("the first")
    drop_files(page, {"cat.png": b"damaged", "cat.txt": b"of the damaged one"})
    expect(page.locator(".fg-errors")).to_contain_text("cat.txt was left out, because its image was refused.")
    expect(page.get_by_label("Caption of cat.png")).to_have_value("the first")


def test_folders_with_the_same_image_and_with_others_of_its_name_are_told_apart(app, page, cats):
    open_page(page, app)
    folders = {
        "a/cat.png": cats[0].read_bytes(),
        "b/cat.png": cats[1].read_bytes(),
        "b/cat.txt": b"caption of b",
        "c/cat.png": cats[0].read_bytes(),
    }
    page.evaluate(DROP_FOLDERS, {path: b64encode(content).decode() for path, content in folders.items()})
    expect(page.locator(".fg-image")).to_have_count(2)
    expect(page.get_by_label("Caption of cat-2.png")).to_have_value("caption of b")
    expect(page.get_by_label("Caption of cat.png")).to_have_value("")
    expect(toast(page, "cat.png is already there. cat.png was added as cat-2.png")).to_be_visible()


def test_captions_that_differ_from_their_image_in_case_normal_form_or_face_follow_it_to_its_new_name(app, page, cats):
    open_page(page, app)
    stems = {"IMG_1": "img_1", "Caf\u00e9": "Cafe\u0301", "me_1_2_3_4": "me"}
    for cat, text in ((cats[0], b"the first"), (cats[1], b"the second")):
        files = {f"{stem}.png": cat.read_bytes() + stem.encode() for stem in stems}
        drop_files(page, files | {f"{caption}.txt": text for caption in stems.values()})
        expect(page.get_by_label("Caption of me_1_2_3_4" + ("-2" if cat == cats[1] else "") + ".png")).to_have_value(text.decode())
    for stem in stems:
        expect(page.get_by_label(f"Caption of {stem}.png")).to_have_value("the first")
        expect(page.get_by_label(f"Caption of {stem}-2.png")).to_have_value("the second")

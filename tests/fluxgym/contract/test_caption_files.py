"""Captions are paired with images by name, as users and operating systems write the names; unused files are reported."""

import pytest

from fluxgym.contract.caption_files import caption_name, decode_caption, pair_captions, trained_text


@pytest.mark.parametrize(
    ("image", "caption"),
    [
        ("a.png", "a.txt"), ("a.png", "a.png.txt"), ("a.PNG", "a.txt"), ("a.png", "a.TXT"), ("A.JPG", "a.txt"), ("a.png", "a.txt.txt"),
        ("a.b.png", "a.b.txt"), ("ann_b_10_20_30_40.png", "ann_b.txt"),
    ],
)  # fmt: skip
def test_caption_of_image_is_found(image, caption):
    assert pair_captions([image, caption], ".txt").of == {image: caption}


def test_plain_caption_name_has_precedence_and_other_file_is_reported():
    found = pair_captions(["a.png", "a.txt", "a.png.txt", "b.txt"], ".txt")
    assert found.of == {"a.png": "a.txt"}
    assert found.unused == ("a.png.txt", "b.txt")


def test_names_that_differ_only_in_case_are_not_guessed():
    assert pair_captions(["A.png", "a.txt", "a.TXT"], ".txt").unused == ("a.TXT", "a.txt")


def test_two_images_of_one_stem_share_caption():
    assert pair_captions(["a.jpg", "a.png", "a.txt"], ".txt").shared == (("a.jpg", "a.png"),)
    assert pair_captions(["ann_1_2_3_4.png", "ann_5_6_7_8.png", "ann.txt"], ".txt").shared == ()  # two faces of one photo


def test_captions_of_another_extension_and_other_files_are_reported():
    names = ["a.png", "b.png", "a.caption", "b.txt", "c.mp4", "d.psd", ".DS_Store", "Thumbs.db", "a_te.npz", "meta.json"]
    found = pair_captions(names, ".txt")
    assert (found.of, found.other_captions, found.left_out) == ({"b.png": "b.txt"}, ("a.caption",), ("c.mp4", "d.psd"))
    both = pair_captions(names, ".caption", fallback=".txt")
    assert (both.of, both.other_captions) == ({"a.png": "a.caption", "b.png": "b.txt"}, ())


@pytest.mark.parametrize(
    ("name", "plain"), [("a.txt", "a.txt"), ("a.TXT", "a.txt"), ("a.png.txt", "a.txt"), ("a.txt.txt", "a.txt"), ("a.b.txt", "a.b.txt")]
)
def test_caption_is_stored_under_its_plain_name(name, plain):
    assert caption_name(name) == plain


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encoding_with_byte_order_mark_is_decoded(encoding):
    assert decode_caption("ein Kätzchen 猫\n".encode(encoding)) == "ein Kätzchen 猫"


def test_unknown_encoding_is_refused():
    with pytest.raises(UnicodeDecodeError):
        decode_caption("Kätzchen".encode("cp1252"))


def test_caption_lines_are_joined_or_kept_as_wildcards():
    assert trained_text("zqx cat\r\nsitting\n\n on a chair\n", wildcards=False) == "zqx cat sitting on a chair"
    assert trained_text("zqx cat\nzqx dog\n", wildcards=True) == "zqx cat\nzqx dog"


@pytest.mark.parametrize(
    "data", [b"a\0b", b"a\x1fb", b"\x1b[31mred", "cat".encode("utf-16-le"), "a\0b".encode("utf-32"), "a\x9bb".encode()]
)
def test_caption_with_control_characters_is_refused(data):
    with pytest.raises(UnicodeDecodeError):
        decode_caption(data)


def test_white_space_in_caption_is_accepted():
    assert decode_caption(b"one\ttwo\r\nthree\x0cfour") == "one\ttwo\r\nthree\x0cfour"

"""Texts of all kinds, made fit to be read out."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_bridge.mapping.texts import as_sentence, cut, plain, said_once


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Discussion on the results of your recent MRI", "Discussion on the results of your recent MRI"),
        ("<p>Bring <b>ID</b> &amp; card</p><ul><li>no food</li></ul>", "Bring ID & card. No food"),
        ("<script>alert(1)</script><div>Hello</div>", "Hello"),
        ("**Bold** and _thin_, see [our page](https://clinic.example/x)", "Bold and thin, see our page"),
        ("# Before you come\nEat nothing", "Before you come. Eat nothing"),
        ("- bring water\n- wear shoes", "bring water. Wear shoes"),
        ("Map: https://maps.example/?q=1.", "Map:"),
        ("Bring ID.\\nUse the side door", "Bring ID. Use the side door"),
        ("first\\.br\\Second", "first. Second"),
        ("a line\nthat runs on", "a line that runs on"),
        ("kept in C:\\new", "kept in C:\\new"),
        ("BP <140/90 and > 80", "BP <140/90 and > 80"),
        ("snake_case and 2*3*4", "snake_case and 2*3*4"),
        ("Ring\u0000 the\u200b bell\ufeff", "Ring the bell"),
        ("Café – naïve", "Café – naïve"),
        ("Herzkatheter prüfen", "Herzkatheter prüfen"),
    ],
)
def test_markup_and_controls_go_and_words_stay(text: str, words: str) -> None:
    """HTML, Markdown, links, breaks that were escaped twice; but not signs that are part of what is said."""
    assert plain(text) == words


@pytest.mark.parametrize(
    "text", [None, "", "  ", "12345", "--", "${comment}", "<name>", "XXXX", "null", "https://a.example"]
)
def test_what_says_nothing_is_absent(text: str | None) -> None:
    """Blanks, masks, template tokens, texts without a letter."""
    assert plain(text) is None


def test_repeats_are_said_once_in_their_longer_form() -> None:
    """Case and stops do not make two texts different."""
    assert said_once(["Bring ID.", "bring id", "Please bring ID. It helps.", "Other."]) == [
        "Please bring ID. It helps.",
        "Other.",
    ]


def test_a_part_of_a_word_is_no_repeat() -> None:
    """`test` is not said by `latest`."""
    assert said_once(["test", "the latest news"]) == ["test", "the latest news"]


def test_texts_are_cut_at_a_sentence() -> None:
    """Else at a word; never in one."""
    assert cut("One two. Three four. Five", 22) == "One two. Three four."
    assert cut("one two three", 9) == "one two"
    assert cut("short", 10) == "short"


def test_sentences_begin_large_and_end_with_a_stop() -> None:
    """What has its own end keeps it."""
    assert as_sentence("bring water") == "Bring water."
    assert as_sentence("Why?") == "Why?"


@given(st.text(max_size=300))
def test_any_text_becomes_one_clean_line(text: str) -> None:
    """No control characters, no double blanks, at least a letter; and what is plain stays as it is."""
    words = plain(text)
    if words is None:
        return
    assert any(map(str.isalpha, words))
    assert not any(unicodedata.category(letter) == "Cc" for letter in words)
    assert words == " ".join(words.split())


@given(st.text(alphabet="ab .!?\n", max_size=80), st.integers(1, 60))
def test_no_cut_is_longer_than_its_limit(text: str, limit: int) -> None:
    """And it is always a beginning of the text."""
    short = cut(text, limit)
    assert len(short) <= limit
    assert text.startswith(short)

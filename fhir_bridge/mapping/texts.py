"""Texts people typed, made fit to be read out: no markup, links, control characters (mapping, section 13)."""

from __future__ import annotations

import re
from functools import lru_cache
from html import unescape
from html.parser import HTMLParser

from fhir_bridge.mapping.said import said

_ODD = re.compile(r"[^\w ,.;:'\"?!%$+()/’–-]|__|\bwww\.|://|\s[_\s]|^\s|^[-+] |^\d+\.\s")
"""Anything that may be more than plain words; a text without it needs no work."""

_TAG = re.compile(r"<(?:/?[A-Za-z][A-Za-z0-9]*(?:\s[^<>]*)?/?|!--.*?--)>", re.DOTALL)
_BREAK_TAGS = frozenset(
    {"p", "br", "div", "li", "ul", "ol", "tr", "table", "section", "blockquote", "pre", "hr"}
)
_HEADING_TAG = re.compile(r"h[1-6]")
_SILENT_TAGS = frozenset({"script", "style", "head", "title"})

_ESCAPED_BREAK = re.compile(r"\\X0[AD]\\|\\\.br\\|(?<!\b[A-Z]:)\\r?\\?[nr]|\r\n?|[\u2028\u2029\v\f]")
"""HL7 v2's escapes, JSON's escaped twice (not a path such as C:\\new), and other systems' line breaks."""

_ESCAPED_TAB = re.compile(r"(?<!\b[A-Z]:)\\t|\t")
_CONTROL = re.compile(
    r"[\x00-\x09\x0b-\x1f\x7f-\x9f\xad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff\ufffd]"
)

_IMAGE = re.compile(r"!\[[^\]\n]*\]\([^)\n]*\)")
_LINK = re.compile(r"\[([^\]\n]+)\]\((?:[^()\n]|\([^()\n]*\))*\)")
_EMPHASIS = re.compile(r"(?<![\w*_~`])(\*{1,3}|_{1,3}|~~|`{1,3})(?=\S)([^\n]*?\S)\1(?![\w*_~`])")
_HEADING = re.compile(r"^[ ]*#{1,6}[ ]+(.*)$", re.MULTILINE)
_LINE_MARK = re.compile(
    r"^[ ]*(?:>+[ ]?|[-*+•‣▪·][ ]+|```\w*[ ]*$|[-*_=]{3,}[ ]*$|\|?[ ]*:?-{3,}[-|: ]*$)", re.MULTILINE
)
_URL = re.compile(
    r"<?\b(?:https?|ftp|file)://[^\s<>()]+>?|\bwww\.[^\s<>()]+|\bmailto:[^\s<>()]+", re.IGNORECASE
)
_EMPTY_BRACKETS = re.compile(r"\(\s*\)|\[\s*\]|<\s*>")
_LOOSE_BLANK = re.compile(r"\s+([,.;:!?)])")
_WORD = re.compile(r"\w+")
_SENTENCE_END = re.compile(r"(?<=\w\w[.!?])\s+(?=\S)|(?<=[.!?][)\"'])\s+(?=\S)")


@lru_cache(maxsize=4_096)
def plain(text: str | None) -> str | None:
    """The text as plain words in one line, or None where nothing with a letter is left (mapping, section 13).

    HTML, Markdown, URLs, control characters, and breaks that were escaped once too often go; what stood in a
    line of its own becomes a sentence. Masks and template tokens are absent.
    """
    if text and _ODD.search(text):
        text = said(text) and _one_line(_without_markup(_without_controls(text)))
    words = said(text)
    return words if words and any(map(str.isalpha, words)) else None


def as_sentence(text: str) -> str:
    """The text with a capital first and a full stop last, where it has none of its own."""
    text = text.rstrip(" ,;:–-")
    if not text.endswith((".", "!", "?", ".)", "!)", "?)", '."')):
        text += "."
    return text[:1].upper() + text[1:]


def said_once(texts: list[str]) -> list[str]:
    """The texts without those that an earlier or a longer one says already, whatever their case and stops."""
    if len(texts) < 2:
        return texts
    bare = [_bare(text) for text in texts]
    return [
        text
        for position, (text, words) in enumerate(zip(texts, bare, strict=True))
        if not any(
            at != position and words in other and (at < position or words != other)
            for at, other in enumerate(bare)
        )
    ]


def cut(text: str, limit: int) -> str:
    """The text in at most `limit` characters, cut after a sentence, else after a word."""
    if len(text) <= limit:
        return text
    ends = [match.start() for match in _SENTENCE_END.finditer(text, 0, limit + 2) if match.start() <= limit]
    if ends:
        return text[: ends[-1]]
    blank = text.rfind(" ", 0, limit + 1)
    return text[: blank if blank > 0 else limit].rstrip(" ,;:–-")


@lru_cache(maxsize=4_096)
def _bare(text: str) -> str:
    """The words alone, blanks around them, so that one text is found in another only as whole words."""
    return f" {' '.join(_WORD.findall(text.casefold()))} "


def _without_controls(text: str) -> str:
    text = _ESCAPED_TAB.sub(" ", _ESCAPED_BREAK.sub("\n", text))
    return _CONTROL.sub("", text)


def _without_markup(text: str) -> str:
    """The text without HTML, then without Markdown, then without addresses of pages."""
    if _TAG.search(text):
        text = _Words.of(text)
    elif "&" in text:
        text = unescape(text)
    text = _LINK.sub(r"\1", _IMAGE.sub("", text))
    text = _URL.sub("", text)
    text = _LINE_MARK.sub("\n", _HEADING.sub(r"\n\1\n\n", text))
    while (bare := _EMPHASIS.sub(r"\2", text)) != text:
        text = bare
    return _EMPTY_BRACKETS.sub("", text)


def _one_line(text: str) -> str:
    """Lines joined: by a blank where one runs on, by a full stop where one stood by itself."""
    joined, apart = "", False
    for line in (" ".join(line.split()) for line in text.split("\n")):
        if not line:
            apart = True
            continue
        if not joined or joined[-1] in ".!?:;,–-" or not (apart or line[0].isupper()):
            joined = f"{joined} {line}".lstrip()
        else:
            joined = f"{joined}. {line[0].upper()}{line[1:]}"
        apart = False
    return _LOOSE_BLANK.sub(r"\1", joined).lstrip(" ,;:.")


class _Words(HTMLParser):
    """The words of an HTML text; block elements become blank lines."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._parts: list[str] = []
        self._silent = 0

    @classmethod
    def of(cls, text: str) -> str:
        parser = cls()
        parser.feed(text)
        parser.close()
        return "".join(parser._parts)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._silent += tag in _SILENT_TAGS
        self._parts.append(_break(tag))

    def handle_endtag(self, tag: str) -> None:
        self._silent -= tag in _SILENT_TAGS and self._silent > 0
        self._parts.append(_break(tag))

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self._parts.append(data)


def _break(tag: str) -> str:
    return "\n\n" if tag in _BREAK_TAGS or _HEADING_TAG.fullmatch(tag) else ""

"""Small templates the layers hold: `{name}` is a value, `[...]` is left out where a value in it is missing.

A template with `{{` or `{%` is Jinja2's, rendered in its sandbox (mapping, sections 7 and 17). The plain
form is the
rule: it takes a microsecond, and Jinja2 takes 80 ms to import.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache

_PART = re.compile(r"\[([^\[\]]*)\]|([^\[\]]+)")
_FIELD = re.compile(r"\{(\w+)\}")
_LOOSE_COMMA = re.compile(r",(?= ?[,(.;])")

Values = dict[str, str | None]
Segment = tuple[str, tuple[str, ...], bool]


def render(template: str, values: Values) -> str:
    """The template with its values, blanks made single, commas that join nothing left out; may be empty.

    Raises KeyError for a name the template has and `values` has not: `check` finds it when layers are read.
    """
    return _rendered(template, tuple(values.items()))


@lru_cache(maxsize=4_096)
def _rendered(template: str, values: tuple[tuple[str, str | None], ...]) -> str:
    return _tidy(_renderer(template)(dict(values)))


def check(template: str, names: Iterable[str]) -> None:
    """Raises ValueError where the template is malformed or uses a name that is not among `names`."""
    known = set(names)
    if _is_jinja(template):
        unknown = _jinja_names(template) - known
    else:
        if _PART.sub("", template) or "{" in _FIELD.sub("", template) or "}" in _FIELD.sub("", template):
            raise ValueError("a bracket of the template is not closed, or stands inside another")
        unknown = set(_FIELD.findall(template)) - known
    if unknown:
        raise ValueError(f"the template knows no {{{min(unknown)}}}; it may use {', '.join(sorted(known))}")


@lru_cache(maxsize=512)
def _renderer(template: str) -> Callable[[Values], str]:
    return _jinja(template) if _is_jinja(template) else _plain(template)


def _plain(template: str) -> Callable[[Values], str]:
    segments = [_segment(match) for match in _PART.finditer(template)]

    def filled(values: Values) -> str:
        texts = {name: value or "" for name, value in values.items()}
        said = [
            text.format_map(texts) if names else text
            for text, names, optional in segments
            if not optional or all(texts[name] for name in names)
        ]
        return "".join(said)

    return filled


def _segment(match: re.Match[str]) -> Segment:
    text = match[1] if match[1] is not None else match[2]
    return text, tuple(_FIELD.findall(text)), match[1] is not None


def _is_jinja(template: str) -> bool:
    return "{{" in template or "{%" in template


def _jinja(template: str) -> Callable[[Values], str]:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    compiled = ImmutableSandboxedEnvironment(undefined=StrictUndefined).from_string(template)
    return lambda values: compiled.render({name: value or "" for name, value in values.items()})


def _jinja_names(template: str) -> set[str]:
    from jinja2 import TemplateSyntaxError, meta
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    try:
        return meta.find_undeclared_variables(ImmutableSandboxedEnvironment().parse(template))
    except TemplateSyntaxError as error:
        raise ValueError(f"not a Jinja2 template: {error.message}") from None


def _tidy(text: str) -> str:
    words = " ".join(text.split())
    if "," in words:
        words = " ".join(_LOOSE_COMMA.sub("", words).split())
    return words.strip(" ,")

"""The layers' small templates."""

import pytest

from fhir_bridge.mapping.templates import check, render

TEMPLATE = "[{when}, ][{what} ][with {who} ]({status})"


@pytest.mark.parametrize(
    ("when", "what", "who", "words"),
    [
        ("Monday", "Talk", "Dr. A", "Monday, Talk with Dr. A (lost)"),
        ("Monday", None, "Dr. A", "Monday, with Dr. A (lost)"),
        ("Monday", None, None, "Monday (lost)"),
        (None, "Talk", None, "Talk (lost)"),
    ],
)
def test_brackets_go_where_a_value_is_missing(
    when: str | None, what: str | None, who: str | None, words: str
) -> None:
    """And no comma is left behind."""
    assert render(TEMPLATE, {"when": when, "what": what, "who": who, "status": "lost"}) == words


def test_values_are_not_templates() -> None:
    """Braces and brackets in a value are text."""
    assert render("{a}", {"a": "{b} [c] {{d}}"}) == "{b} [c] {{d}}"


def test_jinja_templates_run_in_the_sandbox() -> None:
    """A site may want conditions; it may not reach into Python."""
    assert render("{% if who %}With {{ who }}{% else %}Alone{% endif %}", {"who": None}) == "Alone"
    with pytest.raises(Exception, match="unsafe"):
        render("{{ who.__class__.__mro__ }}", {"who": "x"})


@pytest.mark.parametrize("template", ["{other}", "[{who}", "{{ other }}", "{% if %}", "a {who", "[[{who}]]"])
def test_a_template_that_cannot_be_filled_is_refused(template: str) -> None:
    """When the layers are read, not when somebody is called."""
    with pytest.raises(ValueError, match=r"template"):
        check(template, ("who",))

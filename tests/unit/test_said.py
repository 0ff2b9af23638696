import pytest

from fhir_bridge.mapping.said import said


@pytest.mark.parametrize(
    "text", ["", " ", "\t\n", "XXXX", "xxx-xxx-xxxx", "***", "--", "TBC", "tbd", "null", "None"]
)
def test_masks_and_words_for_nothing_are_absent(text: str) -> None:
    """A mask says nothing, wherever it stands."""
    assert said(text) is None


@pytest.mark.parametrize(
    "text", ["${phone}", "{{patient.name}}", "Dear ${name}", "<snipped for brevity>", "unknown"]
)
def test_template_tokens_are_absent(text: str) -> None:
    """What a template left unfilled is no value."""
    assert said(text) is None


@pytest.mark.parametrize(
    "text", ["Xu", "X", "Na", "Van  der\nBerg", "12", "O'Hara", "Max", "Exxon", "N", "Xander"]
)
def test_real_words_stay(text: str) -> None:
    """Short and odd names are names; runs of blanks become one."""
    assert said(text) == " ".join(text.split())

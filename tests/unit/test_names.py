from collections.abc import Callable
from datetime import datetime

import pytest

from fhir_bridge.fhir.datatypes import Extension, HumanName, Period
from fhir_bridge.mapping.names import REPRESENTATION, full_name, practitioner_name, spoken_display
from fhir_bridge.mapping.profile import Profile


def name(use: str | None, given: str, family: str, **more: object) -> HumanName:
    """A name in parts."""
    return HumanName(use=use, given=(given,), family=family, **more)  # type: ignore[arg-type]


def test_official_counts_before_usual_before_others(us: Profile, now: datetime) -> None:
    """mapping, section 6: the order of uses, not of the list."""
    names = [name(None, "Any", "One"), name("usual", "Mary", "One"), name("official", "Marigold", "One")]
    found = full_name(names, us, now)
    assert found is not None
    assert (found.first, found.index) == ("Marigold", 2)


@pytest.mark.parametrize("use", ["old", "maiden", "nickname"])
def test_a_name_of_the_past_counts_only_alone(us: Profile, now: datetime, use: str) -> None:
    """Never old, maiden or nickname while another one is there."""
    former, present = name(use, "Mari", "Before"), name(None, "Marigold", "Example")
    both = full_name([former, present], us, now)
    alone = full_name([former], us, now)
    assert both is not None and both.last == "Example"
    assert alone is not None and alone.last == "Before"


def test_a_name_whose_period_is_over_is_not_current(us: Profile, now: datetime) -> None:
    """A married name ends the official one before it."""
    before = name("official", "Amy", "Before", period=Period(end="2020-07-22"))
    after = name("usual", "Amy", "After", period=Period(start="2020-07-22"))
    found = full_name([before, after], us, now)
    assert found is not None and found.last == "After"


def test_parts_win_over_text_and_all_given_names_are_joined(us: Profile, now: datetime) -> None:
    """The text is read only where both parts are missing."""
    found = full_name([HumanName(text="Mary E.", given=("Marigold", "Ann"), family="Example")], us, now)
    assert found is not None
    assert (found.first, found.last, found.text) == ("Marigold Ann", "Example", None)


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("Marigold Ann Example", "Marigold Ann", "Example"),
        ("Example, Marigold Ann", "Marigold Ann", "Example"),
        ("Mrs. Marigold Example", "Marigold", "Example"),
        ("Marigold Example, MD", "Marigold", "Example"),
        ("Marigold Example PhD", "Marigold", "Example"),
        ("Marigold", None, "Marigold"),
        ("Dr.", None, None),
    ],
)
def test_a_text_alone_is_split(
    us: Profile, now: datetime, text: str, first: str | None, last: str | None
) -> None:
    """Titles and credentials are no part of either name."""
    found = full_name([HumanName(text=text)], us, now)
    assert found is not None
    assert (found.first, found.last) == (first, last)
    assert found.notes == ("name-split",)


def test_one_part_missing_is_incomplete_not_guessed_from_text(us: Profile, now: datetime) -> None:
    """A family name alone is incomplete, whatever the text says."""
    found = full_name([HumanName(family="Example", text="Marigold Example")], us, now)
    assert found is not None and not found.complete


def test_masks_are_no_names(us: Profile, now: datetime) -> None:
    """A masked name is no name at all."""
    assert full_name([HumanName(family="XXXX", given=("${first}",))], us, now) is None
    assert full_name([], us, now) is None


def test_the_preferred_script_goes_first(profile_of: Callable[..., Profile], now: datetime) -> None:
    """Japanese records write a name in ideographs, syllables and letters."""
    script = (Extension(url=REPRESENTATION, value_code="ABC"),)
    names = [name("official", "花子", "見本"), name("usual", "Hanako", "Mihon", extension=script)]
    found = full_name(names, profile_of("JP", "Asia/Tokyo", **{"names.representation": "ABC"}), now)
    assert found is not None and found.first == "Hanako"


@pytest.mark.parametrize(
    ("display", "spoken"),
    [
        ("Careful, Adam", "Adam Careful"),
        ("Careful, Adam MD", "Careful, Adam MD"),
        ("Dr. Careful, Adam", "Dr. Careful, Adam"),
        ("Careful, Adam, MD", "Careful, Adam, MD"),
        ("Room 12, North Wing", "Room 12, North Wing"),
        ("Clinic, the one behind the church", "Clinic, the one behind the church"),
        ("Dr Adam Careful", "Dr Adam Careful"),
        ("TBC", None),
    ],
)
def test_a_display_is_turned_round_only_where_it_is_surely_last_first(
    us: Profile, display: str, spoken: str | None
) -> None:
    """mapping, section 11."""
    assert spoken_display(display, us) == spoken


@pytest.mark.parametrize(
    ("human", "doctor", "spoken"),
    [
        (
            HumanName(prefix=("Dr.",), given=("Adam",), family="Careful", suffix=("MD",)),
            False,
            "Dr. Adam Careful",
        ),
        (HumanName(given=("Adam",), family="Careful"), True, "Dr. Adam Careful"),
        (HumanName(given=("Adam",), family="Careful"), False, "Adam Careful"),
        (HumanName(prefix=("Mr",), given=("Adam",), family="Careful"), True, "Mr Adam Careful"),
        (HumanName(text="Adam Careful, MD"), True, "Dr. Adam Careful"),
        (HumanName(text="Dr. Adam Careful, MD"), False, "Dr. Adam Careful"),
        (HumanName(text="Adam Careful, MD"), False, "Adam Careful, MD"),
        (HumanName(family="Careful"), True, "Dr. Careful"),
    ],
)
def test_a_practitioner_keeps_the_prefix_and_credentials_go_with_it(
    us: Profile, now: datetime, human: HumanName, doctor: bool, spoken: str
) -> None:
    """mapping, section 11: "Dr." is said once."""
    found = practitioner_name(human, us, now, doctor=doctor)
    assert found is not None and found.text == spoken

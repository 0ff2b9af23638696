from datetime import UTC, datetime

import pytest

from fhir_bridge.task_api.outcome import (
    MAX_DETAIL,
    OutcomeClass,
    outcome_of_answer,
    outcome_of_failure,
    retry_after,
)

NOW = datetime(2024, 12, 9, 10, 0, tzinfo=UTC)
ID = "123e4567-e89b-12d3-a456-426614174002"

REFUSED = OutcomeClass.REFUSED
UNKNOWN = OutcomeClass.UNKNOWN
NOT_PROCESSED = OutcomeClass.NOT_PROCESSED
KEY_REFUSED = OutcomeClass.KEY_REFUSED

TABLE = [
    *[(status, {}, NOT_PROCESSED) for status in (408, 425, 429)],
    (429, {"retry-after": "7"}, NOT_PROCESSED),
    (503, {"retry-after": "7"}, NOT_PROCESSED),
    (503, {"retry-after": "soon"}, UNKNOWN),
    *[(status, {}, UNKNOWN) for status in (500, 502, 503, 504, 501, 507, 520, 599, 100, 600)],
    *[(status, {}, REFUSED) for status in (400, 404, 409, 413, 415, 422, 402, 405, 418, 451, 499)],
    *[(status, {}, KEY_REFUSED) for status in (401, 403)],
    *[(status, {}, REFUSED) for status in (300, 301, 302, 303, 304, 307, 308)],
]


@pytest.mark.parametrize(("status", "headers", "kind"), TABLE)
def test_each_status_has_the_class_of_the_table(
    status: int, headers: dict[str, str], kind: OutcomeClass
) -> None:
    """The table of delivery, "Which outcome means what", row by row."""
    outcome = outcome_of_answer(status, headers, b'{"detail": "words"}', now=NOW)
    assert (outcome.kind, outcome.status, outcome.error) == (kind, status, f"http-{status}")
    assert outcome.id is None
    assert outcome.detail == "words"


@pytest.mark.parametrize("status", [200, 201, 202, 299])
def test_any_2xx_with_an_id_is_accepted(status: int) -> None:
    """The contract says to accept any 2xx, not only 201."""
    outcome = outcome_of_answer(status, {}, f'{{"id": "{ID}", "new": 1}}'.encode(), now=NOW)
    assert (outcome.kind, outcome.id, outcome.error) == (OutcomeClass.ACCEPTED, ID, None)


@pytest.mark.parametrize(
    "body",
    [None, b"", b"{}", b"[]", b"null", b'{"id": null}', b'{"id": 7}', b'{"id": "7"}', b"<html>", b"\xff\xfe"],
)
def test_a_2xx_without_a_readable_id_is_unknown(body: bytes | None) -> None:
    """Something was created, and nothing says what: never sent again on its own."""
    outcome = outcome_of_answer(201, {}, body, now=NOW, safe_statuses=[201])
    assert (outcome.kind, outcome.error) == (UNKNOWN, "unreadable-answer")


@pytest.mark.parametrize(
    ("status", "expected"), [(500, UNKNOWN), (502, NOT_PROCESSED), (400, REFUSED), (401, KEY_REFUSED)]
)
def test_a_site_can_rule_only_on_statuses_that_are_unknown(status: int, expected: OutcomeClass) -> None:
    """Listing 400 as safe to retry does not make a refused request retried for ever."""
    outcome = outcome_of_answer(status, {}, None, now=NOW, safe_statuses=[400, 401, 502])
    assert outcome.kind is expected


@pytest.mark.parametrize(("status", "body"), [(500, b""), (201, b"garbage"), (504, None)])
def test_a_question_leaves_nothing_in_doubt(status: int, body: bytes | None) -> None:
    """It may be asked again, whatever became of it."""
    assert outcome_of_answer(status, {}, body, now=NOW, idempotent=True).kind is NOT_PROCESSED


def test_to_a_question_a_refusal_is_one_too() -> None:
    """A refusal stays one, and so does a success."""
    kinds = [
        outcome_of_answer(status, {}, f'{{"id": "{ID}"}}'.encode(), now=NOW, idempotent=True).kind
        for status in (201, 400, 401, 302)
    ]
    assert kinds == [OutcomeClass.ACCEPTED, REFUSED, KEY_REFUSED, REFUSED]


@pytest.mark.parametrize(
    ("before", "idempotent", "kind"),
    [
        (True, False, NOT_PROCESSED),
        (True, True, NOT_PROCESSED),
        (False, True, NOT_PROCESSED),
        (False, False, UNKNOWN),
    ],
)
def test_without_an_answer_it_matters_whether_a_byte_can_have_left(
    before: bool, idempotent: bool, kind: OutcomeClass
) -> None:
    """What is not proved is unknown."""
    outcome = outcome_of_failure("connect-failed", before_first_byte=before, idempotent=idempotent)
    assert (outcome.kind, outcome.error, outcome.status) == (kind, "connect-failed", None)


def test_only_429_pauses_the_destination() -> None:
    """A 503 holds back its own request, a 429 all of them."""
    answers = [outcome_of_answer(status, {"retry-after": "7"}, None, now=NOW) for status in (429, 503)]
    assert [(answer.pauses_destination, answer.retry_after) for answer in answers] == [(True, 7), (False, 7)]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0),
        (" 120 ", 120),
        ("86400", 3600),
        ("9" * 400, 3600),
        ("Mon, 09 Dec 2024 10:00:30 GMT", 30),
        ("Mon, 09 Dec 2024 11:01:00 +0100", 60),
        ("Monday, 09-Dec-24 10:00:30 GMT", 30),
        ("Mon Dec  9 10:00:30 2024", 30),
        ("Mon, 09 Dec 2024 09:00:00 GMT", 0),
        ("Tue, 10 Dec 2024 10:00:00 GMT", 3600),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
        ("Mon, 99 Dec 2024 10:00:30 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_at_most_an_hour(
    value: str | None, seconds: float | None
) -> None:
    """Each of the three date forms of RFC 9110, and what cannot be read says nothing."""
    assert retry_after(value, NOW) == seconds


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (None, None),
        (b"  ", None),
        (b'{"detail": "no such project"}', "no such project"),
        (b'{"detail": [{"loc": ["task"], "type": "missing"}]}', '[{"loc": ["task"], "type": "missing"}]'),
        (b'{"error": "x"}', '{"error": "x"}'),
        (b"<h1>Bad Gateway</h1>", "<h1>Bad Gateway</h1>"),
        (b"[" * 100_000, "[" * MAX_DETAIL),
        (b"x" * 5000, "x" * MAX_DETAIL),
    ],
)
def test_the_endpoints_own_words_are_kept_for_the_work_list(body: bytes | None, detail: str | None) -> None:
    """Whoever mends a refused request needs to read why, whatever form it came in."""
    assert outcome_of_answer(400, {}, body, now=NOW).detail == detail


def test_the_endpoints_words_stay_out_of_the_repr() -> None:
    """They may quote the patient's name."""
    assert "Quine" not in repr(outcome_of_answer(400, {}, b'{"detail": "Quine"}', now=NOW))

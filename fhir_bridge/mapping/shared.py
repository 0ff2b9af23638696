"""What several triggers have in common, worked out once for all of them: their person, the visits that were,
who refers.

Of those who are called, many have several orders or appointments open. What is told of the person is the same
for each, and so are its notes, its lineage and the codes that no map knows.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from datetime import datetime
from typing import TypeVar, cast

from fhir_bridge.case.case import Case
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import View
from fhir_bridge.mapping.profile import Profile
from fhir_bridge.mapping.recorder import Recorder
from fhir_bridge.mapping.terminology import Missed

T = TypeVar("T")
_Known = tuple[T, Recorder, frozenset[Missed]]


def shared(
    case: Case,
    profile: Profile,
    now: datetime,
    recorder: Recorder,
    key: tuple[Hashable, ...],
    tell: Callable[[Recorder], T],
    about: Resource[View] | None = None,
) -> T:
    """What `tell` gives, asked once among the resources at hand for each `key`, which must name all that it
    looks at besides them, `profile` and `now`. What it records is recorded for everybody who asks. Where it
    is `about` somebody of the directory, it is asked once for all who share that.
    """
    answers = case.at_hand.answers if about is None else case.at_hand.answers_about(about)
    whole_key = profile, now, recorder.keeps_lineage, *key
    known = cast("_Known[T] | None", answers.get(whole_key))
    if known is None:
        own = recorder.apart()
        answer, missed = profile.terms.listened(lambda: tell(own))
        known = answers[whole_key] = answer, own, missed
    answer, own, missed = known
    recorder.add(own)
    if missed:
        profile.terms.missed_again(missed)
    return answer

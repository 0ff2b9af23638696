"""Who only counts decisions counts what is decided, noted and unknown to the maps, to the last code."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from itertools import compress
from operator import not_
from typing import Any

from fhir_bridge.app.rules import mapping_run
from fhir_bridge.fhir.views import TRIGGER_TYPES
from fhir_bridge.intake.files import Inputs
from fhir_bridge.mapping.decision import Call, Due
from fhir_bridge.mapping_run import MappingRun
from fhir_bridge.profiles.unmapped import Listening
from tests.golden.conftest import STORIES
from tests.integration.test_corpora_mapping import PATIENT_SITE, made_live


def counted(run: MappingRun, inputs: Inputs, *, brief: bool) -> Iterator[tuple[object, ...]]:
    """Each decision as far as it is counted: what, why, which number until when, notes, unknown codes."""
    heard = Listening(run.profile.terms.load, run.profile.terms.aliases)
    run = replace(run, profile=replace(run.profile, terms=heard), brief=brief)
    for decision in run.decisions(inputs):
        heard.next_trigger()
        called = decision if isinstance(decision, Call | Due) else None
        yield (
            decision.subject.trigger,
            decision.kind,
            getattr(decision, "reason", None),
            (called.phone_number, called.valid_until, called.zones) if called else None,
            frozenset(decision.notes),
            dict(heard.counts),
        )
        heard.begin()


def test_of_every_story_the_same_is_counted() -> None:
    """All that a story can hold: restricted visits, reversed periods, numbers that fail, unknown codes."""
    for story in STORIES:
        run = mapping_run(None, None, story.told["set"], datetime.fromisoformat(story.told["now"]))
        inputs = run.read([str(path) for path in story.inputs], story.context)
        whole, brief = (list(counted(run, inputs, brief=brief)) for brief in (False, True))
        assert brief == whole, story.folder.name


def test_of_third_party_triggers_the_same_is_counted(mapped_corpora: Any) -> None:
    """Every fourth made live for somebody made up, an hour before the newest moment it names."""
    calls = 0
    for source, inputs in mapped_corpora.together.items():
        is_trigger = [one.view.resource_type in TRIGGER_TYPES for one in inputs.resources]
        context = list(compress(inputs.resources, map(not_, is_trigger)))
        for trigger in list(compress(inputs.resources, is_trigger))[::4]:
            live = next(made_live(trigger.raw))
            run = mapped_corpora.run(source, mapped_corpora.own_time(live[0]), **PATIENT_SITE)
            made = Inputs(live, context=context)
            whole, brief = (list(counted(run, made, brief=brief)) for brief in (False, True))
            assert brief == whole, trigger.origin
            calls += whole[0][1] == "call"
    assert calls > 30

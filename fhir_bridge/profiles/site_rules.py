"""A site's own rules out of the layers: FHIRPath compiled; fields, names and rulings checked (mapping,
section 17)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from fhir_bridge.mapping.expressions import Expression, ExpressionError, Override, SiteGate, SiteRules
from fhir_bridge.mapping.rules import Orders, Rules
from fhir_bridge.profiles.layers import Layer, Tree
from fhir_bridge.spelling import did_you_mean

OVERRIDES = "overrides"
GATE_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")

Origins = Mapping[str, Layer]


def with_fields_apart(layer: Layer) -> Layer:
    """The layer with `overrides` as one level of dotted fields, however deep it wrote them:
    `task_data.referral.npi:` and `task_data: {referral: {npi:` are the same, and merge as the same."""
    written = layer.tree.get(OVERRIDES)
    if not isinstance(written, dict):
        return layer
    return replace(layer, tree={**layer.tree, OVERRIDES: dict(_dotted(written))})


def _dotted(tree: Tree, before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _dotted(value, f"{before}{key}.")
        else:
            yield before + str(key), value


def site_rules(rules: Rules, origins: Origins) -> SiteRules:
    """The gates and overrides, compiled; those set to null are taken out.

    Raises MappingsError with file, line and key (SettingsError for `--set`) for a field there is none of, a
    name no gate may have, a class there is none of, and for what is not FHIRPath or may not be used in it.
    """
    _check_rulings(rules.orders, origins)
    compiled = _Compiling(origins)
    gates = [
        SiteGate(name, expression, wanted, layer)
        for wanted, listed in ((False, rules.gates.skip), (True, rules.gates.reject))
        for name, expression, layer in compiled(f"gates.{'reject' if wanted else 'skip'}", listed, _gate_name)
    ]
    overrides = compiled(OVERRIDES, rules.overrides, _field)
    return SiteRules(tuple(gates), tuple(Override(*each) for each in overrides))


class _Compiling:
    """Compiles the expressions of a section; an error names its key, and the file and line of its layer."""

    def __init__(self, origins: Origins) -> None:
        self._origins = origins

    def __call__(
        self, section: str, listed: Mapping[str, Any], check_key: Callable[[str], None]
    ) -> Iterator[tuple[str, Expression, str]]:
        """Key, expression and layer of each that is not null."""
        for key, text in listed.items():
            layer = self._origins[f"{section}.{key}"]
            try:
                check_key(key)
                if text is not None:
                    yield key, _expression(text), layer.name
            except ValueError as error:
                raise layer.error((*section.split("."), key), str(error)) from None


def _expression(text: object) -> Expression:
    """Raises ValueError. Tried once on an empty trigger, for what fails there fails always."""
    if not isinstance(text, str):
        raise ValueError(f"an expression is a text in quotes, this is a {type(text).__name__}")
    from fhir_bridge.profiles.expressions import Compiled

    compiled = Compiled(text)
    try:
        compiled({"resourceType": "Appointment"}, {name: [] for name in compiled.names}, _SOME_DAY)
    except ExpressionError as error:
        raise ValueError(f"it cannot be evaluated ({error})") from None
    return compiled


_SOME_DAY = datetime(2000, 1, 1, tzinfo=UTC)


def _field(name: str) -> None:
    from fhir_bridge.mapping.overrides import REFUSED, fields  # with phonenumbers and babel behind it

    if name in REFUSED:
        raise ValueError(f"this field cannot be overridden: {REFUSED[name]}")
    if name not in fields():
        near = did_you_mean(name, fields()) or f"; there are {', '.join(fields())}"
        raise ValueError(f"there is no such field{near}")


def _gate_name(name: str) -> None:
    if not GATE_NAME.fullmatch(name):
        raise ValueError("a gate's name is made of small letters, digits and hyphens: it becomes a reason")


def _check_rulings(orders: Orders, origins: Origins) -> None:
    known = orders.scheduled | orders.not_scheduled
    for key, kind in orders.rulings.items():
        layer = origins[f"orders.rulings.{key}"]
        if "|" not in key or not key.rpartition("|")[2].strip():
            raise layer.error(("orders", "rulings", key), 'a ruling\'s key is "system|code"')
        if kind is not None and (not isinstance(kind, str) or kind not in known):
            near = did_you_mean(str(kind), known)
            problem = f"there is no class {kind}{near}; there are {', '.join(sorted(known))}"
            raise layer.error(("orders", "rulings", key), problem)

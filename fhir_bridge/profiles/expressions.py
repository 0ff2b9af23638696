"""FHIRPath of a site's, compiled once by fhirpathpy and evaluated as a pure function (mapping, section 17).

Imported only where a layer has an expression: fhirpathpy takes a third of a second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, NoReturn

from antlr4 import CommonTokenStream, InputStream  # type: ignore[import-untyped]
from antlr4.error.ErrorListener import ErrorListener  # type: ignore[import-untyped]
from fhirpathpy import apply_parsed_path
from fhirpathpy.engine.invocations import invocation_registry
from fhirpathpy.engine.invocations.misc import to_string
from fhirpathpy.engine.nodes import ResourceNode
from fhirpathpy.models import models
from fhirpathpy.parser import parse
from fhirpathpy.parser.generated.FHIRPathLexer import FHIRPathLexer
from fhirpathpy.parser.generated.FHIRPathParser import FHIRPathParser

from fhir_bridge.fhir.versions import guess
from fhir_bridge.mapping.expressions import VARIABLES, ExpressionError
from fhir_bridge.spelling import did_you_mean

CONSTANTS: Mapping[str, str] = {
    "sct": "http://snomed.info/sct",
    "loinc": "http://loinc.org",
    "ucum": "http://unitsofmeasure.org",
}
"""FHIR's own names for code systems (https://hl7.org/fhir/fhirpath.html#variables)."""

TRIGGER = ("context", "resource", "rootResource")

REFUSED: Mapping[str, str] = {
    "resolve": "a rule fetches nothing; %patient, %order and the others hold what is at hand",
    "trace": "it prints what the record says",
}
"""Functions no expression may use, and why."""

FUNCTIONS = frozenset(
    name for name in invocation_registry if name.isalpha() and not name.endswith("Op") and name not in REFUSED
)
MODELS = {"STU3": models["stu3"], "R4": models["r4"], "R5": models["r5"]}


class Compiled:
    """An expression whose syntax, functions and names are known to be right; `Expression` of the mapping.

    It pickles by its text, so that a profile can go to another process.
    """

    __slots__ = ("_tree", "names", "text")

    def __init__(self, text: str) -> None:
        """Raises ValueError that says what is wrong, and in which column where that is known."""
        self.text = text.strip()
        _check_syntax(self.text)
        self._tree: Any = parse(self.text)  # type: ignore[no-untyped-call]
        for name in _called(self._tree, "Functn"):
            _check_function(name)
        used = frozenset(_called(self._tree, "ExternalConstant"))
        known = {*VARIABLES, *CONSTANTS, *TRIGGER}
        if strangers := sorted(used - known):
            near = did_you_mean(strangers[0], known)
            raise ValueError(
                f"there is no %{strangers[0]}{near}; there are {', '.join(f'%{name}' for name in VARIABLES)}"
            )
        self.names = used & VARIABLES.keys()

    def __reduce__(self) -> tuple[type[Compiled], tuple[str]]:
        return Compiled, (self.text,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Compiled) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __call__(self, trigger: Any, variables: Mapping[str, list[Any]], now: datetime) -> list[Any]:
        """What it gives, as plain values; see `Expression`. The version's model is that of the trigger's own
        elements. Raises ExpressionError."""
        try:
            options = {"userInvocationTable": {**_clock(now), "toString": {"fn": _to_string}}}
            typed = {name: list(map(_node, held)) for name, held in variables.items()}
            values = {**CONSTANTS, **dict.fromkeys(TRIGGER, trigger), **typed}
            model = MODELS[guess(trigger)]
            found = apply_parsed_path(trigger, self._tree, values, model, options)  # type: ignore[no-untyped-call]
            return [_plain(each) for each in found]
        except Exception as error:
            # fhirpathpy raises bare Exceptions and whatever odd data causes; their texts quote the data.
            raise ExpressionError(type(error).__name__) from None


def _plain(value: Any) -> Any:
    """A value as JSON has it; dates, times and quantities as FHIRPath writes them."""
    if value is None or isinstance(value, str | bool | int | float | list | dict):
        return value
    return str(value.normalize()) if isinstance(value, Decimal) else str(value)


def _node(resource: Any) -> Any:
    """A resource as fhirpathpy knows its own: `ofType(Practitioner)` finds it."""
    return ResourceNode.create_node(resource)  # type: ignore[no-untyped-call]


def _to_string(found: list[Any]) -> Any:
    """fhirpathpy says True where FHIRPath says true."""
    if len(found) == 1 and isinstance(found[0], bool):
        return "true" if found[0] else "false"
    return to_string(None, found)  # type: ignore[no-untyped-call]


def _clock(now: datetime) -> Mapping[str, Mapping[str, Callable[[Any], Any]]]:
    """now(), today() and timeOfDay() by the clock of the run, not by the machine's: the same input gives the
    same bytes (mapping, section 14)."""
    texts = {
        "now": now.isoformat(timespec="milliseconds"),
        "today": now.date().isoformat(),
        "timeOfDay": now.time().isoformat(timespec="milliseconds"),
    }
    return {name: {"fn": lambda _inputs, text=text: text} for name, text in texts.items()}  # type: ignore[misc]


def _check_syntax(text: str) -> None:
    """fhirpathpy's own parse repairs what it does not understand and drops what follows: `id = 'a' )` would
    be read as `id = 'a'`. So the grammar is asked first, strictly."""
    if not text:
        raise ValueError("the expression is empty")
    lexer = FHIRPathLexer(InputStream(text))
    parser = FHIRPathParser(CommonTokenStream(lexer))
    for recognizer in (lexer, parser):
        recognizer.removeErrorListeners()
        recognizer.addErrorListener(_Strict())
    parser.entireExpression()  # type: ignore[no-untyped-call]


class _Strict(ErrorListener):  # type: ignore[misc]
    def syntaxError(  # noqa: N802 (antlr4's name)
        self, recognizer: Any, symbol: Any, line: int, column: int, message: str, error: Any
    ) -> NoReturn:
        where = f"line {line}, column {column + 1}" if line > 1 else f"column {column + 1}"
        raise ValueError(f"not FHIRPath: {message} ({where})")


def _check_function(name: str) -> None:
    if name in REFUSED:
        raise ValueError(f"{name}() is refused: {REFUSED[name]}")
    if name not in FUNCTIONS:
        raise ValueError(f"there is no function {name}(){did_you_mean(name, FUNCTIONS)}")


def _called(tree: Any, kind: str) -> Iterator[str]:
    """The identifiers of all nodes of a kind: of functions, of names behind a per cent sign."""
    rest = [tree]
    while rest:
        node = rest.pop()
        if node.get("type") == kind:
            yield node["children"][0]["text"].strip("`'\"")
        rest += node.get("children", ())

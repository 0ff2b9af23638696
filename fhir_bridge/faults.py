"""What may be said of an unexpected exception: its type and where it was raised, never its text or values."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

PACKAGE = Path(__file__).parent


def location(error: BaseException) -> str:
    """`ValueError at fhir_bridge/mapping/phones.py:41`; raised in a library: what called it, and the library.

    Its text may quote a patient, and so may those of the exceptions it is chained to: none is printed.
    """
    places = list(_places(error.__traceback__))
    own = [place for place in places if place.startswith(f"{PACKAGE.name}/")]
    told = own[-1:] if not places or places[-1] in own[-1:] else [*own[-1:], places[-1]]
    return " in ".join([f"{type(error).__name__} at {told[0]}", *told[1:]]) if told else type(error).__name__


def _places(trace: TracebackType | None) -> list[str]:
    """The file and line of each frame, outermost first: ours from the package on, others by their name."""
    places = []
    while trace is not None:
        file = Path(trace.tb_frame.f_code.co_filename)
        ours = file.is_relative_to(PACKAGE)
        name = file.relative_to(PACKAGE.parent).as_posix() if ours else f"{file.parent.name}/{file.name}"
        places.append(f"{name}:{trace.tb_lineno}")
        trace = trace.tb_next
    return places

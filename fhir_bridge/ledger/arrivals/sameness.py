"""Whether two drafts of a patient may be one person's; pure.

Retention clears drafts, so whom one named is kept as keyed digests: they show nobody, and tell somebody else.
"""

from __future__ import annotations

from hashlib import blake2b

import msgspec


class _Person(msgspec.Struct):
    first_name: str = ""
    last_name: str = ""
    date_of_birth: str | None = None


_UNKNOWN = "-"


def is_another(known: bytes | None, person: str | None, told: bytes, salt: bytes) -> bool:
    """Whether a draft cannot be of whom the `known` one named, or, once that is cleared, of this `person`: of
    last name, first name and birth date two differ. One alone is a marriage, another spelling, or a date put
    right; what is not known differs in nothing.
    """
    if known == told or not (known or person):
        return False
    before = fingerprint(known, salt) if known else person or ""
    pairs = zip(before.split(), fingerprint(told, salt).split(), strict=True)
    return sum(one != other and _UNKNOWN not in (one, other) for one, other in pairs) > 1


def fingerprint(draft: bytes, salt: bytes) -> str:
    """Last name, first name and birth date of a draft, each as a keyed digest."""
    person = msgspec.json.decode(draft, type=_Person)
    first = "".join(person.first_name.casefold().split()[:1])
    last, born = person.last_name.casefold(), person.date_of_birth
    names = (_digest("last", last, salt), _digest("first", first, salt))
    return " ".join((*names, _digest("born", born, salt) if born else _UNKNOWN))


def _digest(part: str, text: str, salt: bytes) -> str:
    return blake2b(f"{part} {text}".encode(), key=salt[:64], digest_size=12).hexdigest()

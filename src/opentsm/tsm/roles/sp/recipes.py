"""Personalisation recipes: which data groupings an application gets by STORE DATA, and what they are made of.

The JSON form is read by `recipe_format`; docs/reference/personalization.md describes it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final


class FieldType(Enum):
    """What a field's text must be."""

    HEX = "hex"
    DIGITS = "digits"
    ASCII = "ascii"
    TEXT = "text"
    INTEGER = "integer"


class Encoding(Enum):
    """How a field becomes bytes: BCD right-justified after zeros, CN left-justified before F."""

    HEX = "hex"
    BCD = "bcd"
    CN = "cn"
    ASCII = "ascii"
    UTF8 = "utf8"
    BINARY = "binary"


ENCODINGS: Final[Mapping[FieldType, tuple[Encoding, ...]]] = {
    FieldType.HEX: (Encoding.HEX, Encoding.BINARY),
    FieldType.DIGITS: (Encoding.BCD, Encoding.CN, Encoding.ASCII),
    FieldType.ASCII: (Encoding.ASCII,),
    FieldType.TEXT: (Encoding.UTF8,),
    FieldType.INTEGER: (Encoding.BINARY, Encoding.BCD),
}


class Derivation(Enum):
    """How a card's key comes from the provider's: SP 800-108 with AES-CMAC, or Option A of EMV."""

    SP800_108 = "sp800-108"
    EMV_OPTION_A = "emv-option-a"


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the values that a field may have, with its title by language (none: the value itself)."""

    value: str
    title: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Field:
    """One datum that a personalisation needs.

    `low` and `high` bound the length (hex: bytes; digits, ascii: characters) or an integer's value; `size`
    is an integer's length in bytes. `generated` is the number of random bytes or digits, None for a datum
    that must be given. `user` says that the end user is asked for it: then `title` and `hint` are what it is
    told, by language. `characters` are those that are allowed (none: all), `choices` the only values.
    """

    name: str
    type: FieldType
    low: int
    high: int
    size: int = 0
    secret: bool = False
    generated: int | None = None
    user: bool = False
    title: Mapping[str, str] = field(default_factory=dict)
    hint: Mapping[str, str] = field(default_factory=dict)
    characters: str = ""
    choices: tuple[Choice, ...] = ()


@dataclass(frozen=True, slots=True)
class Constant:
    """Fixed bytes."""

    value: bytes


@dataclass(frozen=True, slots=True)
class FieldValue:
    """The bytes of a field."""

    field: str
    encoding: Encoding


@dataclass(frozen=True, slots=True)
class Nibbles:
    """Digits put together; with `last`, its right-most ones after zeros, else an odd number before F."""

    items: tuple[str | FieldValue, ...]
    last: int | None = None


@dataclass(frozen=True, slots=True)
class Wrapped:
    """A BER-TLV data object around parts."""

    tag: int
    parts: "tuple[Part, ...]"


@dataclass(frozen=True, slots=True)
class DerivedKey:
    """A card's application key (16 bytes), from the provider's master key of this name."""

    name: str
    diversify: "tuple[Part, ...]"
    derivation: Derivation = Derivation.SP800_108


@dataclass(frozen=True, slots=True)
class SpParameter:
    """A parameter of the service or of its flavor (spParameters), as hex, ASCII or UTF-8."""

    name: str
    encoding: Encoding


@dataclass(frozen=True, slots=True)
class RecipeVersion:
    """The recipe's own version, as ASCII."""


Part = Constant | FieldValue | Nibbles | Wrapped | DerivedKey | SpParameter | RecipeVersion


@dataclass(frozen=True, slots=True)
class GroupingRecipe:
    """One data grouping; `path` is its place in the recipe, for messages."""

    dgi: int
    parts: tuple[Part, ...]
    encrypted: bool
    path: str


class Target(Enum):
    """Where a command goes: through the security domain, or to the application once it is selectable."""

    PERSONALIZATION = "personalization"
    APPLICATION = "application"


@dataclass(frozen=True, slots=True)
class RecipeCommand:
    """One APDU: CLA, INS, P1, P2, data; what the card should answer; the tag under which that is kept."""

    target: Target
    header: tuple[int, int, int, int]
    parts: tuple[Part, ...]
    ne: int | None
    expected: tuple[str, ...]
    tag: str
    path: str


@dataclass(frozen=True, slots=True)
class Recipe:
    """A recipe that is in order."""

    version: str
    fields: Mapping[str, Field]
    groupings: tuple[GroupingRecipe, ...]
    probe: int | None
    messages: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    commands: tuple[RecipeCommand, ...] = ()

    @property
    def keys(self) -> frozenset[str]:
        """The names of the master keys that the recipe derives from."""
        return frozenset(name for grouping in self.groupings for name in key_names(grouping.parts))


def key_names(parts: tuple[Part, ...]) -> set[str]:
    """Return the names of the master keys in some parts."""
    names: set[str] = set()
    for part in parts:
        match part:
            case DerivedKey():
                names.add(part.name)
            case Wrapped():
                names |= key_names(part.parts)
    return names

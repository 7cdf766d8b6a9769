"""What all bodies of the `/v1` API share. Bytes travel as upper-case hex."""

from typing import Annotated

import msgspec
from msgspec import Meta

Hex = Annotated[str, Meta(pattern="^([0-9A-Fa-f]{2})*$", description="bytes in hex")]
AidHex = Annotated[str, Meta(pattern="^([0-9A-Fa-f]{2}){5,16}$", description="application identifier in hex")]
Name = Annotated[str, Meta(min_length=1, max_length=100)]


class Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request body."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A response body."""

"""Why a content management operation may happen: the answer of `authorization`, as a value.

Source: GPCS 2.3.1 §9.1.3, §10.4.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Authority:
    """Why a content management operation may happen.

    Args:
        token: whether a token was verified.
        delegated: whether the security domain works by Delegated Management.
        least_hash: shortest load file data block hash in bytes that goes with the token (Table C-3).
        number: the token identifier (93), if there is one.
        judge: AID of the security domain that verified the token.
        signed: what the token signs.
    """

    token: bool = False
    delegated: bool = False
    least_hash: int = 0
    number: bytes | None = None
    judge: bytes = b""
    signed: bytes = b""

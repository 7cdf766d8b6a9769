"""A device's assertion: a short JWS (ES256) by which it proves that it holds its enrolled key.

Source: RFC 7515, RFC 7517, RFC 7638; RFC 7523 in spirit.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from opentsm.tsm.kernel.errors import InvalidInputError, UnauthenticatedError
from opentsm.tsm.kernel.wording import quoted

AUDIENCE = "opentsm"
MAX_LIFETIME_S = 60
CLOCK_SKEW_S = 30
_MAX_LENGTH = 2000
_JTI_LENGTHS = range(16, 65)
_PUBLIC = ("kty", "crv", "x", "y")


@dataclass(frozen=True, slots=True)
class Assertion:
    """What a verified assertion says: its own id, and until when it must not be taken again."""

    jti: str
    expires_at: datetime


def public_key(jwk: Mapping[str, str]) -> tuple[dict[str, str], str]:
    """Check a public key and return it with its thumbprint (RFC 7638).

    Raises:
        InvalidInputError: it is not a public JWK of P-256.
    """
    if set(jwk) != set(_PUBLIC) or jwk["kty"] != "EC" or jwk["crv"] != "P-256":
        raise InvalidInputError(
            "public_key must be a JWK with kty EC, crv P-256, x and y, and nothing else.", field="/public_key"
        )
    try:
        key = ECKey.import_key({name: jwk[name] for name in _PUBLIC})
        thumbprint = key.thumbprint()
        if key.is_private or not key.public_key:
            raise ValueError
    except (JoseError, ValueError) as error:
        raise InvalidInputError("public_key is not a point of P-256.", field="/public_key") from error
    return {name: jwk[name] for name in _PUBLIC}, thumbprint


def key_id(assertion: str) -> str:
    """Return the device that an assertion claims to come from; nothing is proved by that.

    Raises:
        UnauthenticatedError: it is no compact JWS with a `kid`.
    """
    try:
        if len(assertion) > _MAX_LENGTH:
            raise ValueError
        found = jws.extract_compact(assertion.encode()).headers().get("kid")
    except (JoseError, ValueError, TypeError) as error:
        raise UnauthenticatedError("The assertion is not a compact JWS.") from error
    if not isinstance(found, str):
        raise UnauthenticatedError("The assertion's header names no device (kid).")
    return found


def verify(assertion: str, jwk: Mapping[str, str], device_id: str, now: datetime) -> Assertion:
    """Verify an assertion.

    Args:
        assertion: the compact JWS.
        jwk: the device's enrolled public key.
        device_id: who it should be from.
        now: the present time.

    Raises:
        UnauthenticatedError: signature, subject, audience, times or id are not as they should be.
    """
    try:
        key = ECKey.import_key({name: jwk[name] for name in _PUBLIC})
        claims = jwt.decode(assertion, key, algorithms=["ES256"]).claims
    except (JoseError, ValueError, TypeError) as error:
        raise UnauthenticatedError("The assertion's signature does not verify.") from error
    if claims.get("sub") != device_id or claims.get("aud") != AUDIENCE:
        raise UnauthenticatedError(f"The assertion needs the device as sub and {quoted(AUDIENCE)} as aud.")
    jti = claims.get("jti")
    if not isinstance(jti, str) or len(jti) not in _JTI_LENGTHS or not jti.isprintable():
        raise UnauthenticatedError("The assertion needs an id of its own (jti, 128 bits).")
    return Assertion(jti=jti, expires_at=_expiry(claims.get("iat"), claims.get("exp"), now))


def _expiry(issued: object, expires: object, now: datetime) -> datetime:
    if type(issued) is not int or type(expires) is not int:
        raise UnauthenticatedError("The assertion needs iat and exp in whole seconds.")
    present = int(now.timestamp())
    if not 0 < expires - issued <= MAX_LIFETIME_S:
        raise UnauthenticatedError(f"The assertion may be good for {MAX_LIFETIME_S} s at most.")
    if expires <= present - CLOCK_SKEW_S or issued > present + CLOCK_SKEW_S:
        raise UnauthenticatedError(
            "The assertion has expired or is not yet valid.", advice="Set the device's clock."
        )
    return datetime.fromtimestamp(expires, UTC) + timedelta(seconds=CLOCK_SKEW_S)

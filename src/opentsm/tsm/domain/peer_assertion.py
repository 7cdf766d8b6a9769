"""What makes a message between two TSMs its sender's: a short JWS (ES256) over its digest.

Source: RFC 7515, RFC 7519, RFC 7638. The media type of the header keeps it apart from a device's assertion.
"""

import hashlib
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from opentsm.tsm.kernel.documents import Record, to_json
from opentsm.tsm.kernel.errors import UnauthenticatedError

TYPE = "opentsm-peer+jwt"
LIFETIME_S = 60
CLOCK_SKEW_S = 30
MAX_LENGTH = 2000
_COORDINATE = 32


class PeerClaims(Record, frozen=True, kw_only=True):
    """What an assertion says.

    `call` names what is asked for (empty in an answer), `aud` the party that is asked, or in an answer the
    `jti` of the request; `digest` is that of the body.
    """

    aud: str
    call: str
    digest: str
    jti: str
    iat: int
    exp: int


def public_jwk(point: bytes) -> dict[str, str]:
    """Return a point of P-256 as a JWK (RFC 7518 §6.2.1)."""
    x, y = point[1 : 1 + _COORDINATE], point[1 + _COORDINATE :]
    return {"kty": "EC", "crv": "P-256", "x": _b64(x), "y": _b64(y)}


def thumbprint(point: bytes) -> str:
    """Return the name of a key (RFC 7638).

    Raises:
        ValueError: it is no point of P-256.
    """
    return _key(point).thumbprint()


def claims(aud: str, call: str, body: bytes, jti: str, now: datetime) -> PeerClaims:
    """Make the claims of a message that is sent now."""
    issued = int(now.timestamp())
    return PeerClaims(
        aud=aud, call=call, digest=digest_of(body), jti=jti, iat=issued, exp=issued + LIFETIME_S
    )


def digest_of(body: bytes) -> str:
    """Return the digest of a body (SHA-256, base64url)."""
    return _b64(hashlib.sha256(body).digest())


def signing_input(said: PeerClaims, key_id: str) -> bytes:
    """Return what is to be signed (RFC 7515 §5.1)."""
    header = {"alg": "ES256", "kid": key_id, "typ": TYPE}
    return f"{_b64(to_json(header))}.{_b64(to_json(said))}".encode()


def compact(signed: bytes, signature: bytes) -> str:
    """Return the assertion (RFC 7515 §7.1)."""
    return f"{signed.decode()}.{_b64(signature)}"


def key_id(assertion: str) -> str:
    """Return the key that an assertion claims to be signed with; nothing is proved by that.

    Raises:
        UnauthenticatedError: it is no assertion of a TSM.
    """
    try:
        if len(assertion) > MAX_LENGTH:
            raise ValueError
        header = jws.extract_compact(assertion.encode()).headers()
    except (JoseError, ValueError, TypeError) as error:
        raise UnauthenticatedError("The peer's assertion is not a compact JWS.") from error
    found = header.get("kid")
    if header.get("typ") != TYPE or not isinstance(found, str):
        raise UnauthenticatedError("This is not the assertion of another TSM.")
    return found


def verify(assertion: str, key: bytes, aud: str, call: str, now: datetime) -> PeerClaims:
    """Verify an assertion; the digest in it is for whoever has the body.

    Raises:
        UnauthenticatedError: signature, addressee, call or times are not as they should be.
    """
    try:
        found = jwt.decode(assertion, _key(key), algorithms=["ES256"])
    except (JoseError, ValueError, TypeError) as error:
        raise UnauthenticatedError("The signature of the peer's assertion does not verify.") from error
    if found.header.get("typ") != TYPE:
        raise UnauthenticatedError("This is not the assertion of another TSM.")
    said = _read(found.claims)
    if (said.aud, said.call) != (aud, call):
        raise UnauthenticatedError("The peer's assertion is for another party or another call.")
    present = int(now.timestamp())
    if not 0 < said.exp - said.iat <= LIFETIME_S:
        raise UnauthenticatedError(f"A peer's assertion may be good for {LIFETIME_S} s at most.")
    if said.exp <= present - CLOCK_SKEW_S or said.iat > present + CLOCK_SKEW_S:
        raise UnauthenticatedError(
            "The peer's assertion has expired or is not yet valid.", advice="Set the clocks of both TSMs."
        )
    return said


def spent_until(said: PeerClaims) -> datetime:
    """Return until when the assertion must not be taken again."""
    return datetime.fromtimestamp(said.exp, UTC) + timedelta(seconds=CLOCK_SKEW_S)


def _read(found: Mapping[str, object]) -> PeerClaims:
    texts = {name: found.get(name) for name in ("aud", "call", "digest", "jti")}
    times = {name: found.get(name) for name in ("iat", "exp")}
    good = all(isinstance(one, str) for one in texts.values()) and all(
        type(one) is int for one in times.values()
    )
    jti = texts["jti"]
    if not good or not isinstance(jti, str) or not 16 <= len(jti) <= 64:
        raise UnauthenticatedError("The peer's assertion lacks a claim, or one has another form.")
    return PeerClaims(**texts, **times)  # type: ignore[arg-type]  # checked just above


def _key(point: bytes) -> ECKey:
    return ECKey.import_key({**public_jwk(point)})


def _b64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()

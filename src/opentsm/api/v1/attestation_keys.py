"""The keys that sign attestation tokens: their certificates for whoever verifies, and a new one."""

import base64

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import SkipValidation

from opentsm.api.authentication import Caller
from opentsm.api.sptsm.exchange import SpContainer
from opentsm.api.v1 import messages as m
from opentsm.tsm.roles.sp.attestation import AttestationKey

_Container = NamedDependency[SkipValidation[SpContainer]]
_TAG = ["attestation keys"]


class AttestationKeyAnswer(m.Answer, frozen=True, kw_only=True):
    """A key that signs, or signed, attestation tokens."""

    signer: str
    public_key: str
    certificate: str
    created_at: str
    current: bool


class AttestationKeys(m.Answer, frozen=True, kw_only=True):
    """All attestation keys of a provider, the one that signs first, and how tokens name the TSM."""

    tsm_identifier: str
    items: list[AttestationKeyAnswer]


@get("/attestation-keys", tags=_TAG, summary="List attestation keys (provider)")
async def list_attestation_keys(principal: Caller, container: _Container) -> AttestationKeys:
    """Return the keys; `signer` is what tag 85 of a token holds, `certificate` is PEM."""
    desk = container.catalogue.attestation
    found = await desk.keys(principal)
    return AttestationKeys(tsm_identifier=desk.tsm_identifier, items=[_shown(key) for key in found])


@post("/attestation-keys", tags=_TAG, status_code=201, summary="Make a new attestation key (provider)")
async def rotate_attestation_key(principal: Caller, container: _Container) -> AttestationKeyAnswer:
    """Make a key that signs all tokens from now on; the ones before stay listed."""
    return _shown(await container.catalogue.attestation.rotate(principal))


def _shown(key: AttestationKey) -> AttestationKeyAnswer:
    return AttestationKeyAnswer(
        signer=key.signer.hex().upper(),
        public_key=key.public_key.hex().upper(),
        certificate=_pem(key.certificate),
        created_at=key.created_at,
        current=key.current,
    )


def _pem(certificate: bytes) -> str:
    text = base64.b64encode(certificate).decode()
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return "\n".join(("-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""))

"""Keys of a provider's security domains: master and transport keys, deposited key sets, what a card holds.

BSI TR-03165 §4.1.4.6 names the modes and leaves open how keys travel; docs/reference/domain-keys.md says it.
"""

from typing import Annotated, Any

import msgspec
from litestar import Request, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, PathParameter, SkipValidation

from opentsm.api.authentication import Caller
from opentsm.api.sptsm.exchange import SpContainer
from opentsm.api.v1 import messages as m
from opentsm.api.v1.protected import require_protected
from opentsm.card.crypto.secret import Secret
from opentsm.tsm.kernel.errors import InvalidInputError
from opentsm.tsm.kernel.ids import InstanceId
from opentsm.tsm.roles.sp import shelf
from opentsm.tsm.roles.sp.forms import Document

_Container = NamedDependency[SkipValidation[SpContainer]]
_Index = Annotated[str, PathParameter(description="as a flavor's keyIndex names the key")]
_TAG = ["domain keys"]
_Hex = Annotated[str, msgspec.Meta(pattern="^([0-9A-Fa-f]{2})+$", max_length=512)]


class DomainKey(m.Body, frozen=True, kw_only=True):
    """A master or transport key in the clear: over TLS or the loopback interface only."""

    key: str

    def __repr__(self) -> str:
        return "<domain key>"


class NewDomainKeySet(m.Body, frozen=True, kw_only=True):
    """ENC ‖ MAC ‖ DEK under a transport key (AES key wrap, RFC 3394), and their check values."""

    key_index: str
    keys: _Hex
    check_values: Annotated[tuple[_Hex, _Hex, _Hex], msgspec.Meta(description="of ENC, MAC and DEK")]
    scp: Annotated[int, msgspec.Meta(ge=2, le=3)] = 3

    def __repr__(self) -> str:
        return "<domain key set>"


class DomainKeySet(m.Answer, frozen=True, kw_only=True):
    """A deposited key set, without its keys."""

    id: str
    key_index: str
    scp: int
    check_values: tuple[str, ...]
    used: bool


class DomainKeySets(m.Answer, frozen=True, kw_only=True):
    """All deposited key sets."""

    items: list[DomainKeySet]


class InstanceKeys(m.Answer, frozen=True, kw_only=True):
    """What a provider may know of the keys of an instance's security domain."""

    security_domain: str
    mode: int
    key_version: int
    scp: int
    check_values: tuple[str, ...]
    key_index: str = ""
    derivation: str = ""
    key_diversification_data: str = ""
    key_set_id: str = ""
    keys: str = ""

    def __repr__(self) -> str:
        return "<keys of an instance>"


@put(
    "/domain-master-keys/{index:str}",
    tags=_TAG,
    status_code=204,
    summary="Register a master key for security domains (provider)",
)
async def import_domain_master_key(
    request: Request[Any, Any, Any],
    principal: Caller,
    container: _Container,
    index: _Index,
    data: JSONBody[DomainKey],
) -> None:
    """Register a master key of key provisioning mode 1; another key under the same index is refused."""
    require_protected(request)
    await container.catalogue.domain_keys.import_master_key(principal, index, _key(data))


@put(
    "/transport-keys/{index:str}",
    tags=_TAG,
    status_code=204,
    summary="Register a transport key (provider)",
)
async def import_transport_key(
    request: Request[Any, Any, Any],
    principal: Caller,
    container: _Container,
    index: _Index,
    data: JSONBody[DomainKey],
) -> None:
    """Register a transport key of modes 2 and 3; another key under the same index is refused."""
    require_protected(request)
    await container.catalogue.domain_keys.import_transport_key(principal, index, _key(data))


@post("/domain-key-sets", tags=_TAG, status_code=201, summary="Deposit a key set for mode 2 (provider)")
async def deposit_key_set(
    principal: Caller, container: _Container, data: JSONBody[NewDomainKeySet]
) -> DomainKeySet:
    """Keep a key set for one security domain; it is used once."""
    document = await container.catalogue.domain_keys.deposit(
        principal,
        index=data.key_index,
        scp=data.scp,
        wrapped=bytes.fromhex(data.keys),
        check_values=tuple(bytes.fromhex(one) for one in data.check_values),
    )
    return _shown(document)


@get("/domain-key-sets", tags=_TAG, summary="List deposited key sets (provider)")
async def list_key_sets(principal: Caller, container: _Container) -> DomainKeySets:
    """Return the deposited key sets, without their keys, oldest first."""
    found = await container.catalogue.domain_keys.deposits(principal)
    return DomainKeySets(items=[_shown(one) for one in found])


@get(
    "/instances/{instance_id:str}/domain-keys",
    tags=_TAG,
    summary="Show the keys of an instance's security domain (provider)",
)
async def show_domain_keys(
    principal: Caller, container: _Container, instance_id: FromPath[str]
) -> InstanceKeys:
    """Return what the key provisioning mode gives back: diversification data, or keys that are wrapped."""
    found = await container.catalogue.domain_keys.of_instance(principal, InstanceId(instance_id))
    return InstanceKeys(
        security_domain=str(found.security_domain),
        mode=found.mode.value,
        key_version=found.key_version,
        scp=found.scp,
        check_values=tuple(one.hex().upper() for one in found.check_values),
        key_index=found.key_index,
        derivation=found.derivation,
        key_diversification_data=found.diversification_data.hex().upper(),
        key_set_id=found.key_set,
        keys=found.wrapped_keys.hex().upper(),
    )


def _shown(document: Document) -> DomainKeySet:
    return DomainKeySet(
        id=str(document["id"]),
        key_index=str(document["keyIndex"]),
        scp=int(str(document["scp"])),
        check_values=tuple(shelf.texts(document, "checkValues")),
        used=bool(document["used"]),
    )


def _key(data: DomainKey) -> Secret:
    try:
        return Secret(bytes.fromhex(data.key))
    except ValueError:
        raise InvalidInputError("The key must be bytes in hex.", field="/key") from None

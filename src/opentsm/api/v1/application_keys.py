"""Application keys: master keys that a provider brings along, for its terminals to know them too."""

from typing import Annotated, Any

from litestar import Request, put
from litestar.di import NamedDependency
from litestar.params import JSONBody, PathParameter, SkipValidation

from opentsm.api.authentication import Caller
from opentsm.api.sptsm.exchange import SpContainer
from opentsm.api.v1 import messages as m
from opentsm.api.v1.protected import require_protected
from opentsm.card.crypto.secret import Secret
from opentsm.tsm.domain.tenant import TenantKind
from opentsm.tsm.kernel.errors import ForbiddenError, InvalidInputError

_Container = NamedDependency[SkipValidation[SpContainer]]
_Name = Annotated[str, PathParameter(description="as personalisation recipes call the key")]


class ApplicationKey(m.Body, frozen=True, kw_only=True):
    """A master key in the clear: over TLS or the loopback interface only."""

    key: str

    def __repr__(self) -> str:
        return "<application key>"


@put(
    "/application-keys/{name:str}",
    tags=["application keys"],
    status_code=204,
    summary="Import an application master key (provider)",
)
async def import_application_key(
    request: Request[Any, Any, Any],
    principal: Caller,
    container: _Container,
    name: _Name,
    data: JSONBody[ApplicationKey],
) -> None:
    """Import a master key of 16 bytes; the same key again changes nothing, another one is refused."""
    require_protected(request)
    if principal.kind is not TenantKind.SERVICE_PROVIDER:
        raise ForbiddenError("This needs the token of a service provider.")
    try:
        key = Secret(bytes.fromhex(data.key))
    except ValueError:
        raise InvalidInputError("The key must be bytes in hex.", field="/key") from None
    await container.catalogue.scripts.import_application_key(principal.tenant_id, name, key)

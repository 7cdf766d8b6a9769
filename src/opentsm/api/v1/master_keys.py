"""Master keys: an issuer's keys, from which the keys of its cards are derived."""

from typing import Annotated, Any, Protocol

from litestar import Request, put
from litestar.di import NamedDependency
from litestar.params import JSONBody, PathParameter, SkipValidation

from opentsm.api.authentication import Caller
from opentsm.api.v1 import messages as m
from opentsm.api.v1.protected import require_protected
from opentsm.card.crypto.secret import Secret
from opentsm.tsm.kernel.errors import InvalidInputError
from opentsm.tsm.roles.sei.master_keys import MasterKeys


class SeiContainer(Protocol):
    """What this route needs of the application."""

    @property
    def master_keys(self) -> MasterKeys:
        """Return the use cases about master keys."""
        ...


_Container = NamedDependency[SkipValidation[SeiContainer]]
_Handle = Annotated[str, PathParameter(description="as key sets name the key")]


class MasterKey(m.Body, frozen=True, kw_only=True):
    """A master key in the clear, in place of a key ceremony: over TLS or the loopback interface only."""

    key: str

    def __repr__(self) -> str:
        return "<master key>"


@put(
    "/master-keys/{handle:str}",
    tags=["master keys"],
    status_code=204,
    summary="Import a master key (issuer; operator: of the central TSM)",
)
async def import_master_key(
    request: Request[Any, Any, Any],
    principal: Caller,
    container: _Container,
    handle: _Handle,
    data: JSONBody[MasterKey],
) -> None:
    """Import a master key of 16, 24 or 32 bytes; the same key again changes nothing, another is refused."""
    require_protected(request)
    try:
        key = Secret(bytes.fromhex(data.key))
    except ValueError:
        raise InvalidInputError("The key must be bytes in hex.", field="/key") from None
    await container.master_keys.import_master_key(principal, handle, key)

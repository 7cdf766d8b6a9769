"""What an issuer says about its secure elements: checked, stored once by content, and replaced."""

from msgspec.structs import replace

from opentsm.tsm.domain.registry import HistoryEntry, RegistryEvent, SeData
from opentsm.tsm.domain.secure_element import SecureElement
from opentsm.tsm.domain.tenant import Principal, TenantKind
from opentsm.tsm.kernel.disclosure import may_be_secret
from opentsm.tsm.kernel.errors import InvalidInputError
from opentsm.tsm.kernel.ids import SeId, TenantId
from opentsm.tsm.ports.repositories import Page
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.hub.mandate import require
from opentsm.tsm.roles.hub.registry.chronicle import note_element
from opentsm.tsm.roles.hub.registry.operators import known_operator
from opentsm.tsm.roles.hub.registry.subscriptions import KEEPERS, usable_element
from opentsm.tsm.roles.hub.services import HubServices

MAX_WORDS = 64
_WORDS = ("key_index", "profile_id", "globalplatform", "java_card", "certification")


class SeDataDesk:
    """Data of secure elements."""

    def __init__(self, services: HubServices) -> None:
        self._s = services

    async def put_se_data(self, principal: Principal, se_id: SeId, data: SeData) -> SecureElement:
        """Replace what is said about a secure element.

        Raises:
            ForbiddenError: the caller is no issuer.
            NotFoundError: there is no such secure element of the caller, or no such network operator.
            InvalidInputError: a value is too long, or looks like a key.
        """
        require(principal, TenantKind.SE_ISSUER)
        check_se_data(data)
        async with self._s.storage.transaction() as tx:
            se = await usable_element(tx, principal, se_id)
            await keep_se_data(tx, se.issuer_id, data)
            saved = await tx.secure_elements.save(replace(se, data=name_of_data(data)))
            await note_element(
                tx,
                self._s.world,
                principal,
                saved,
                RegistryEvent.DATA_CHANGED,
                network_operator_id=data.network_operator_id,
            )
            await tx.commit()
        return saved

    async def element_history(self, principal: Principal, se_id: SeId, page: Page) -> list[HistoryEntry]:
        """Return a page of what happened to a secure element of the caller, oldest first."""
        require(principal, *KEEPERS)
        async with self._s.storage.transaction() as tx:
            await usable_element(tx, principal, se_id)
            return list(await tx.se_registry.history(se_id, page))


def name_of_data(data: SeData) -> str:
    """Return by what a secure element refers to its data; empty when there are none."""
    return "" if data == SeData() else data.digest


def check_se_data(data: SeData) -> None:
    """Check what an issuer says about a secure element.

    Raises:
        InvalidInputError: a value is too long, or looks like a key.
    """
    for name in _WORDS:
        value: str = getattr(data, name)
        if len(value) > MAX_WORDS or not (value.isprintable() or not value):
            text = f"{name} has at most {MAX_WORDS} printable characters."
            raise InvalidInputError(text, field=f"/data/{name}")
    if may_be_secret(data.key_index):
        raise InvalidInputError(
            "key_index looks like a key, and it is shown to providers.",
            advice="Name the key by a number or a word. If it was a key, treat it as disclosed.",
            field="/data/key_index",
        )


async def keep_se_data(tx: UnitOfWork, issuer_id: TenantId, data: SeData) -> None:
    """Store data that a secure element is about to refer to.

    Raises:
        NotFoundError: they name a network operator that is not known.
    """
    if data == SeData():
        return
    if data.network_operator_id is not None:
        await known_operator(tx, data.network_operator_id)
    await tx.se_registry.put_data(issuer_id, [data])

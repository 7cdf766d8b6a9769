"""Issuer master keys: how they come into the issuer's keystore.

A stand-in for a key ceremony: the key arrives in the clear over a protected connection. An HSM's ceremony
takes the place of this door, the handles stay.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from opentsm.card.crypto.secret import Secret
from opentsm.tsm.domain.tenant import HUB, Principal, TenantKind
from opentsm.tsm.kernel.disclosure import may_be_secret
from opentsm.tsm.kernel.errors import ConflictError, ForbiddenError, InvalidInputError, KeystoreError
from opentsm.tsm.kernel.ids import KeyHandle, TenantId
from opentsm.tsm.ports.keystore import Keystore
from opentsm.tsm.ports.unit_of_work import Storage

# No slash: handles with one belong to the TSM itself (transport keys, application keys).
_HANDLE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LENGTHS: Final = (16, 24, 32)


@dataclass(frozen=True, slots=True)
class MasterKeys:
    """Use cases about an issuer's master keys.

    Args:
        storage: where the audit is.
        keystore_of: finds a party's keystore.
    """

    storage: Storage
    keystore_of: Callable[[TenantId], Keystore]

    async def import_master_key(self, principal: Principal, handle: str, key: Secret) -> None:
        """Take a master key; the same key again changes nothing.

        Args:
            principal: the issuer; the operator for the central TSM, which has a keystore of its own.
            handle: 1 to 64 letters, digits, dots, hyphens or underscores; key sets name it.
            key: 16, 24 or 32 bytes.

        Raises:
            ForbiddenError: the caller is neither.
            InvalidInputError: handle or length is not possible.
            ConflictError: there is another key under this handle.
        """
        kinds = (TenantKind.SE_ISSUER, TenantKind.OPERATOR)
        if principal.kind not in kinds or principal.device_id is not None:
            raise ForbiddenError("This needs the token of a se issuer or operator.")
        if not _HANDLE.fullmatch(handle):
            raise InvalidInputError(
                "A handle has 1 to 64 letters, digits or . _ -, a letter or digit first.", field="handle"
            )
        if may_be_secret(handle):
            raise InvalidInputError(
                "This handle looks like a key, and handles are no secret.",
                advice="Choose a name. If it was a key, treat it as disclosed.",
                field="handle",
            )
        if len(key) not in _LENGTHS:
            raise InvalidInputError("A master key has 16, 24 or 32 bytes.", field="/key")
        owner = HUB if principal.kind is TenantKind.OPERATOR else principal.tenant_id
        try:
            await self.keystore_of(owner).import_key(KeyHandle(handle), key)
        except KeystoreError as error:
            raise ConflictError(
                f"The keystore did not take the key {handle}: it holds another one under this handle.",
                advice="Use a new handle; a master key in use is never replaced.",
            ) from error
        async with self.storage.transaction() as tx:
            await tx.audit.append(
                owner, actor=principal.tenant_id, action="master-key.imported", subject=handle
            )
            await tx.commit()

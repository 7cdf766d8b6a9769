"""What holds between key provisioning mode, key index and attestation token.

The form checks each attribute alone; these rules look at several of them, and at the registered keys.
Source: BSI TR-03165 §4.1.4.6, §4.1.4.15.
"""

from uuid import UUID

from opentsm.tsm.domain.card_content import KeyProvisioning, KeyProvisioningMode
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.sp import errors, shelf
from opentsm.tsm.roles.sp.forms import Document
from opentsm.tsm.roles.sp.shelf import find

MODE, INDEX = "featureConfig.keyProvisioningMode", "featureConfig.keyIndex"
TOKEN, DIVERSIFICATION = "provideAttestationToken", "includeSecurityDomainDiversificationData"


def provisioning_of(flavor: Document) -> KeyProvisioning:
    """Return how a flavor wants the keys of its security domain."""
    features = shelf.part(flavor, "featureConfig")
    mode = KeyProvisioningMode(int(str(features.get("keyProvisioningMode", 0))))
    return KeyProvisioning(mode=mode, key_index=str(features.get("keyIndex", "")))


async def check_provisioning(tx: UnitOfWork, owner: TenantId, flavor: Document, *, modify: bool) -> None:
    """Check a flavor's mode against its key index, and that the key is registered.

    Raises:
        CatalogueError: 1004 or 1006 without the index that the mode needs, 1008 with one that it does not
            need, 1009 when the provider has no such key.
    """
    wanted = provisioning_of(flavor)
    if wanted.mode is KeyProvisioningMode.NONE:
        if wanted.key_index:
            raise errors.bad_format(
                wanted.key_index, INDEX, "the empty string while keyProvisioningMode is 0"
            )
        return
    if not wanted.key_index:
        raise errors.missing(INDEX, "FeatureConfig", modify=modify)
    diversified = wanted.mode is KeyProvisioningMode.DIVERSIFIED
    kind = shelf.DOMAIN_MASTER_KEY if diversified else shelf.TRANSPORT_KEY
    await find(tx, owner, kind, wanted.key_index)


def check_token(config: Document) -> None:
    """Check a PersonalizationConfig alone.

    Raises:
        CatalogueError: 1008 for diversification data without a token to hold them.
    """
    if config.get(DIVERSIFICATION) and not config.get(TOKEN):
        raise errors.bad_format(True, _path(DIVERSIFICATION), f"false while {TOKEN} is false")


def check_attestation(flavor: Document, config: Document) -> None:
    """Check an application's PersonalizationConfig against the flavor that applies it.

    Raises:
        CatalogueError: 1008.
    """
    wanted = provisioning_of(flavor)
    if config.get(TOKEN) and wanted.mode is KeyProvisioningMode.NONE:
        raise errors.bad_format(0, MODE, f"1, 2 or 3 where an application has {TOKEN}")
    if not config.get(DIVERSIFICATION):
        return
    if wanted.mode is not KeyProvisioningMode.DIVERSIFIED:
        raise errors.bad_format(wanted.mode.value, MODE, f"1 where an application has {DIVERSIFICATION}")
    if not is_uuid(wanted.key_index):
        # A.2: tag 83 holds the index as a UUID
        raise errors.bad_format(wanted.key_index, INDEX, f"a UUID where an application has {DIVERSIFICATION}")


def is_uuid(text: str) -> bool:
    """Say whether a text is a UUID in its usual form."""
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False


def _path(name: str) -> str:
    return f"personalizationConfig.{name}"

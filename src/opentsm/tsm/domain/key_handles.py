"""Names of keys in a service provider's keystore that the provider itself knows by an index."""

from opentsm.tsm.kernel.ids import KeyHandle, TenantId


def provider_master_handle(provider_id: TenantId, index: str) -> KeyHandle:
    """Return the handle of a provider's master key for security domains."""
    return KeyHandle(f"domain-master/{provider_id}/{index}")


def provider_transport_handle(provider_id: TenantId, index: str) -> KeyHandle:
    """Return the handle of a transport key that the provider shares with its TSM."""
    return KeyHandle(f"provider-transport/{provider_id}/{index}")

"""Card profiles: everything in which real cards differ, as data.

A profile is JSON (hexadecimal strings for bytes and bit masks); unknown names are refused. Where the
specification is silent, the switch is here and its default is the recommended reading.
"""

import json
from dataclasses import dataclass, field, fields
from functools import lru_cache
from importlib import resources
from typing import Final, Literal

import msgspec

ChannelKind = tuple[int, int]
AesLayout = Literal["both", "inner-length", "bare"]

_PACKAGE: Final = "opentsm.vse.profiles_data"
_DEFAULT_AID: Final = "A000000151000000"


class ProfileError(ValueError):
    """The card profile is unknown or malformed."""


@dataclass(frozen=True, slots=True)
class FactoryInstance:
    """An instance of the factory image; of a security domain's module, a pre-issued security domain.

    Args:
        aid: of the instance.
        module: of its code.
        parameters: value of C9.
        privileges: three bytes.
        parent: AID of the security domain above it; empty for the issuer's.
        kvn: version of its own key set, 0 for none; its keys come with the card's other keys.
        role: what it is called in the card's configuration.
    """

    aid: str
    module: str
    parameters: str = ""
    privileges: str = "000000"
    parent: str = ""
    kvn: int = 0
    role: str = ""


@dataclass(frozen=True, slots=True)
class FactoryLoadFile:
    """A load file of the factory image (in ROM: it takes no memory)."""

    aid: str
    version: tuple[int, int] = (1, 0)
    modules: tuple[str, ...] = ()
    instances: tuple[FactoryInstance, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VseProfile:
    """One kind of card; byte strings are hexadecimal."""

    name: str
    description: str = ""
    atr: str = "3B80800101"
    isd_aid: str = _DEFAULT_AID
    isd_state: int = 0x0F
    isd_privileges: str = "9EFE80"
    scp: tuple[tuple[str, str], ...] = (("03", "70"),)
    initial_kvn: int = 0x30
    kvn_ranges_enforced: bool = False
    aes_layout: AesLayout = "both"
    kcv_required: bool = True
    gp_version: str = "2.3.1"
    recognition_format: Literal[1, 2] = 1
    memory: int = 131072
    ram: int = 8192
    retry_limit: int = 64
    status_chunk: int = 239
    store_data_limit: int = 16384
    max_command_data: int = 255
    extended_length: bool = True
    protocol: Literal["T=0", "T=1"] = "T=1"
    logical_channels: int = 4
    chain_limit: int = 8192
    command_chaining: bool = True
    chain_mac_counted: bool = True
    chain_counter_steps: Literal["command", "part"] = "command"
    authentication_unstarted: Literal["6985", "6982"] = "6985"
    authentication_wrong_mac: Literal["6982", "6300"] = "6982"
    protected_unasked: Literal["refuse", "abort"] = "refuse"
    initialization_by: Literal["issuer", "authorized"] = "issuer"
    load_order: Literal["6985", "6A86"] = "6985"
    load_order_aborts: bool = True
    load_blocks_wrap: bool = True
    key_exists: Literal["6A80", "6985"] = "6A80"
    scp02_encrypts_empty: bool = False
    scp02_mac_on_errors: bool = False
    minimum_level: int = 0
    inherit_keys: bool = True
    personalized_by_keys: bool = True
    content_domain_personalized: bool = True
    ancestors_accepted: bool = True
    domain_package_open: bool = True
    counter_moves_without_data: bool = True
    factory_keys_removed: bool = True
    check_imports: bool = False
    token_key: tuple[int, int] = (1, 0x70)
    receipt_key: tuple[int, int] = (1, 0x71)
    dap_key: tuple[int, int] = (1, 0x73)
    load_file_key: tuple[int, int] = (1, 0x75)
    receipts: Literal["required", "with-key", "never"] = "required"
    receipts_for_authorized: bool = False
    receipt_digest: Literal["", "SHA_1", "SHA_256", "SHA_384", "SHA_512"] = ""
    confirmation_counter_moves: Literal["after", "before"] = "after"
    token_numbers_grow: bool = False
    delegated_delete_without_token: bool = False
    registry_privileges: Literal["replace", "add"] = "replace"
    final_application_selectable: bool = True
    locked_mandated_dap: Literal["refused", "passed"] = "refused"
    content_reach: Literal["hierarchy", "associated", "accepted"] = "hierarchy"
    extradition_cycles: bool = False
    related_of_instance: Literal["alone", "refused"] = "alone"
    sw_proof_missing: str = "6985"
    sw_proof_wrong: str = "6982"
    sw_aid_in_use: str = "6A80"
    sw_unknown_in_delete: str = "6A88"
    privacy_framework: bool = False
    assignable_domain: str = "FFFFF0"
    assignable_application: str = "1EBFB0"
    ota_isd_tar: str = "000000"
    ota_minimum_security: int = 0x12
    ota_aes_counter_required: bool = True
    ota_counter_window: int = 0
    ota_buffer: int = 4096
    ota_report_limit: int = 159
    ota_report_commands: int = 0
    ota_keys: tuple[tuple[str, str], ...] = ()
    scp11_s16: bool = False
    scp11_provider: Literal["authority", "subject"] = "authority"
    scp11_key_lengths: tuple[int, ...] = (16, 24, 32)
    scp11b_commands: tuple[str, ...] = ()
    scp11_factory_kvn: int = 0x18
    scp11_curve: Literal["P_256", "P_384", "BRAINPOOL_P256R1"] = "P_256"
    key_generation: bool = False
    certificate_store_tagged: bool = False
    casd: bool = False
    contactless_activated: bool = True
    gp211: bool = False
    two_byte_privileges: bool = False
    master_file: bool = False
    factory: tuple[FactoryLoadFile, ...] = field(default_factory=tuple)

    @property
    def channels(self) -> tuple[ChannelKind, ...]:
        """Secure channel protocols as (protocol, i)."""
        return tuple((int(protocol, 16), int(option, 16)) for protocol, option in self.scp)

    @property
    def factory_domains(self) -> tuple[FactoryInstance, ...]:
        """The pre-issued security domains that have keys of their own."""
        return tuple(entry for package in self.factory for entry in package.instances if entry.kvn)

    @property
    def role_keys(self) -> frozenset[tuple[int, int]]:
        """Identifier and version of the keys that verify, sign and decipher, as (kid, kvn)."""
        return frozenset({self.token_key, self.receipt_key, self.dap_key, self.load_file_key})

    @property
    def proof_missing(self) -> int:
        """Status word for a token, signature or hash that is missing, or has no key."""
        return int(self.sw_proof_missing, 16)

    @property
    def proof_wrong(self) -> int:
        """Status word for a token, signature or hash that is wrong."""
        return int(self.sw_proof_wrong, 16)

    def to_dict(self) -> dict[str, object]:
        """Return the profile as the JSON value that `load_profile` takes."""
        value: dict[str, object] = msgspec.to_builtins(self)
        return value


def profile_names() -> tuple[str, ...]:
    """Return the names of the packaged profiles."""
    files = resources.files(_PACKAGE).iterdir()
    return tuple(sorted(entry.name.removesuffix(".json") for entry in files if entry.name.endswith(".json")))


def load_profile(source: str | dict[str, object]) -> VseProfile:
    """Read a profile.

    Args:
        source: the name of a packaged profile, or the profile as a JSON object. An object may name another
            profile in `base` and then holds only the differences.

    Raises:
        ProfileError: no such profile, or a member is unknown or has a wrong value.
    """
    raw = _packaged(source) if isinstance(source, str) else dict(source)
    base = raw.pop("base", None)
    if base is not None:
        raw = _packaged(str(base)) | raw
        return load_profile(raw)
    unknown = raw.keys() - {entry.name for entry in fields(VseProfile)}
    if unknown:
        raise ProfileError(f"unknown members in the card profile: {', '.join(sorted(unknown))}")
    try:
        profile = msgspec.convert(raw, VseProfile)
        _check(profile)
    except (msgspec.ValidationError, ValueError, TypeError) as problem:
        raise ProfileError(f"the card profile is malformed: {problem}") from problem
    return profile


def shared_profile(raw: dict[str, object]) -> VseProfile:
    """Read the profile of an image; cards of one kind get the same object.

    Raises:
        ProfileError: as `load_profile`.
    """
    return _load_encoded(msgspec.msgpack.encode(raw))


@lru_cache(maxsize=64)
def _load_encoded(encoded: bytes) -> VseProfile:
    raw: dict[str, object] = msgspec.msgpack.decode(encoded)
    return load_profile(raw)


def _packaged(name: str) -> dict[str, object]:
    if name not in profile_names():
        raise ProfileError(f"no card profile {name!r}; there are: {', '.join(profile_names())}")
    value: dict[str, object] = json.loads(
        resources.files(_PACKAGE).joinpath(f"{name}.json").read_text("utf-8")
    )
    return value


def _check_messages(profile: VseProfile) -> None:
    if len(bytes.fromhex(profile.ota_isd_tar)) != 3:
        raise ValueError("ota_isd_tar has three bytes")
    for version, kind in profile.ota_keys:
        if int(version, 16) not in range(1, 16) or kind not in {"80", "88"}:
            raise ValueError("ota_keys lists pairs of version (01 to 0F) and key type (80, 88)")


def _check(profile: VseProfile) -> None:
    for text in (profile.atr, profile.isd_aid, profile.isd_privileges):
        bytes.fromhex(text)
    if not 5 <= len(profile.isd_aid) // 2 <= 16:
        raise ValueError("isd_aid has 5 to 16 bytes")
    protocols = [protocol for protocol, _ in profile.channels]
    if not protocols or protocols[0] not in {2, 3} or not set(protocols) <= {2, 3, 0x11, 0x80}:
        raise ValueError("scp lists pairs of protocol and i: 02 or 03 first, then 02, 03, 11 or 80")
    _check_messages(profile)
    _check_agreement(profile)
    if min(profile.memory, profile.ram, profile.retry_limit, profile.status_chunk, profile.chain_limit) < 1:
        raise ValueError("memory, ram, retry_limit, status_chunk and chain_limit are positive")
    if profile.logical_channels not in range(21):
        raise ValueError("logical_channels is 0 (none known) to 20")
    _check_proofs(profile)
    for package in profile.factory:
        for text in (package.aid, *package.modules, *(entry.aid for entry in package.instances)):
            if not 5 <= len(bytes.fromhex(text)) <= 16:
                raise ValueError(f"{text} is no AID")
        for entry in package.instances:
            if len(bytes.fromhex(entry.privileges)) != 3 or not 0 <= entry.kvn <= 0x7F:
                raise ValueError(f"{entry.aid}: privileges have three bytes, a key version is 1 to 127")


def _check_proofs(profile: VseProfile) -> None:
    words = (profile.sw_proof_missing, profile.sw_proof_wrong, profile.sw_aid_in_use)
    for word in (*words, profile.sw_unknown_in_delete):
        if len(bytes.fromhex(word)) != 2 or word[0] != "6":
            raise ValueError(f"{word} is no status word of a refusal")
    for kid, kvn in profile.role_keys:
        if not (1 <= kid <= 0x7F and 1 <= kvn <= 0x7F):
            raise ValueError("a key has an identifier and a version of 1 to 127")


def _check_agreement(profile: VseProfile) -> None:
    if not set(profile.scp11_key_lengths) <= {16, 24, 32}:
        raise ValueError("scp11_key_lengths are among 16, 24 and 32 bytes")
    if any(len(bytes.fromhex(ins)) != 1 for ins in profile.scp11b_commands):
        raise ValueError("scp11b_commands are instruction bytes")

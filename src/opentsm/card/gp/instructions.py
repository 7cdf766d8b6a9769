"""The coded values of the GlobalPlatform commands: class and instruction bytes, and what P1 may say.

Specification: GlobalPlatform Card Specification 2.3.1, §11.
"""

from enum import IntEnum

CLA_ISO = 0x00
CLA_GP = 0x80
NE_ANY = 256


class Ins(IntEnum):
    """The instruction bytes of GlobalPlatform (Table 11-1)."""

    MANAGE_CHANNEL = 0x70
    END_R_MAC_SESSION = 0x78
    BEGIN_R_MAC_SESSION = 0x7A
    INITIALIZE_UPDATE = 0x50
    PERFORM_SECURITY_OPERATION = 0x2A
    EXTERNAL_AUTHENTICATE = 0x82
    INTERNAL_AUTHENTICATE = 0x88
    SELECT = 0xA4
    GET_RESPONSE = 0xC0
    GET_DATA = 0xCA
    GET_DATA_ISO = 0xCB
    PUT_KEY = 0xD8
    STORE_DATA = 0xE2
    DELETE = 0xE4
    INSTALL = 0xE6
    LOAD = 0xE8
    SET_STATUS = 0xF0
    GET_STATUS = 0xF2


class StatusScope(IntEnum):
    """P1 of GET STATUS: which part of the registry (Table 11-32)."""

    ISD = 0x80
    APPLICATIONS = 0x40
    LOAD_FILES = 0x20
    LOAD_FILES_AND_MODULES = 0x10


class StatusTarget(IntEnum):
    """P1 of SET STATUS: whose state (Table 11-86)."""

    CARD = 0x80
    APPLICATION = 0x40
    SECURITY_DOMAIN_TREE = 0x60


class InstallKind(IntEnum):
    """P1 of INSTALL (Table 11-40)."""

    LOAD = 0x02
    INSTALL = 0x04
    MAKE_SELECTABLE = 0x08
    INSTALL_AND_MAKE_SELECTABLE = 0x0C
    COMBINED = 0x0E
    EXTRADITION = 0x10
    PERSONALIZATION = 0x20
    REGISTRY_UPDATE = 0x40


class StoreDataEncryption(IntEnum):
    """Bits b7 and b6 of P1 of STORE DATA (Table 11-89)."""

    NONE = 0x00
    APPLICATION_DEPENDENT = 0x20
    ENCRYPTED = 0x60


class StoreDataStructure(IntEnum):
    """Bits b5 and b4 of P1 of STORE DATA (Table 11-89)."""

    NONE = 0x00
    DGI = 0x08
    BER_TLV = 0x10

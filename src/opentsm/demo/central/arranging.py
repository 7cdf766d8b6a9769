"""The issuer's arrangements in the demo, and whether a card shows the privileges of their configuration."""

import json
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from opentsm.card.codec.aid import Aid
from opentsm.card.gp.privilege_matrix import PrivilegeMatrix, privilege_matrix
from opentsm.card.gp.se_configurations import SeConfiguration
from opentsm.demo.cards import DemoCard
from opentsm.demo.errors import VerificationError
from opentsm.demo.http_api import Json
from opentsm.demo.issuer_session import CardReading

CONFIGURATION: Final = 700
CENTRAL_SD: Final = "F04F545344000001"
CENTRAL_TSM: Final = "hub"
_ROLES: Final = {"CM": "SP SD", "DM": "SP SD with DM"}


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of card whose domains belong to several parties, and what its issuer arranges for it.

    `central_kvn` is the version of the hub's key set there, which `comes_with_central` says it comes with;
    otherwise the hub puts it there. Domains of providers change hands as `handover` says.
    """

    profile: str
    mode: str
    words: str
    central_kvn: int
    comes_with_central: bool
    handover: str


# A card has to be made with the certified keys that a confidential hand-over needs: a blank one has none.
BLANK: Final = Kind("se-700-blank", "CM", "centralised", 0x31, False, "relay-trusted")
CERTIFIED: Final = Kind("se-700", "DM", "delegated", 0x30, True, "confidential")
KINDS: Final = (BLANK, CERTIFIED)


def arrangement(kind: Kind, issuer_id: str, card: DemoCard) -> Json:
    """Word an arrangement of configuration 700.

    Args:
        kind: of the card.
        issuer_id: holds the issuer security domain; the central TSM holds the Central SD under it.
        card: one of those that it is for.
    """
    top = {
        "name": "ISD",
        "role": "ISD",
        "aid": str(card.profile.isd_aid),
        "holder_id": issuer_id,
        "kvn": card.profile.initial_kvn,
    }
    central = {
        "name": "Central SD",
        "role": "Central SD",
        "aid": CENTRAL_SD,
        "holder_id": CENTRAL_TSM,
        "kvn": kind.central_kvn,
        "parent": "ISD",
    }
    return {
        "name": f"demo, {kind.words}",
        "configuration": CONFIGURATION,
        "domains": [top, central],
        "place": {"mode": kind.mode, "under": "Central SD", "role": _ROLES[kind.mode]},
        "handover": kind.handover,
    }


def require_matrix(card: DemoCard, reading: CardReading, arranged: Json) -> PrivilegeMatrix:
    """Require that the card's domains hold the privileges of the configuration, cell for cell.

    Args:
        reading: the issuer's own, past the TSM.
        arranged: the arrangement, as the TSM shows it.

    Raises:
        VerificationError: a domain is missing, too many, or has other privileges.
    """
    roles = {Aid.from_hex(one["aid"]): str(one["role"]) for one in arranged["domains"]}
    matrix = privilege_matrix(configuration(), reading.entries, roles)
    shown = {column.aid for column in matrix.columns}
    wrong = [f"there is no {aid}" for aid in roles if aid not in shown]
    wrong += matrix.differences()
    if wrong:
        raise VerificationError(
            f"{card.name} is not as configuration {CONFIGURATION} says: {'; '.join(wrong)}"
        )
    return matrix


def configuration() -> SeConfiguration:
    """Read the packaged data of the configuration."""
    packaged = files("opentsm.card").joinpath("configurations_data", f"se-{CONFIGURATION}.json")
    return SeConfiguration.from_dict(json.loads(packaged.read_text("utf-8")))

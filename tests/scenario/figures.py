"""Arrangements of the configurations 500 to 800, as an issuer words them over HTTP."""

from typing import Any

Json = dict[str, Any]
ISD = "A000000151000000"
CENTRAL, MNO, MDPH = "F04F545344000001", "F04F545344000002", "F04F545344000003"
THIRD_PARTY, CA = "F04F545344000004", "A00000015153504341534400"
HUB = "hub"


def domain(name: str, aid: str, holder: str, kvn: int = 0x31, *, role: str = "", parent: str = "ISD") -> Json:
    """Word a domain; its role is its name where no other is given."""
    named = {"name": name, "role": role or name, "aid": aid}
    return {**named, "holder_id": holder, "kvn": kvn, "parent": parent}


def figure_500(issuer: str, **more: Any) -> Json:
    """Return configuration 500: the central TSM, or the issuer, holds the only domain."""
    top = domain("Central SD", ISD, more.pop("holder", issuer), more.pop("kvn", 0x21), parent="")
    place = {"mode": "CM", "under": "Central SD", "role": "SP SD"}
    return {"name": "figure 5", "configuration": 500, "domains": [top], "place": place, **more}


def figure_600(issuer: str, mno: str, **more: Any) -> Json:
    """Return configuration 600: a UICC with the operator's domain beside the central TSM's."""
    domains = [
        domain("ISD", ISD, issuer, 0x30, parent=""),
        domain("Central SD", CENTRAL, HUB),
        domain("MNO SD", MNO, mno),
    ]
    place = {"mode": "CM", "under": "Central SD", "role": "SP SD"}
    return {"name": "figure 6", "configuration": 600, "domains": domains, "place": place, **more}


def figure_700(issuer: str, third_party: str, delegated: str | None = None, **more: Any) -> Json:
    """Return configuration 700 without its dispensable domains, unless `with_services` is given."""
    domains = [
        domain("ISD", ISD, issuer, 0x30, parent=""),
        domain("Central SD", CENTRAL, HUB),
        domain("third party", THIRD_PARTY, third_party, role="Third-party SD"),
    ]
    if more.pop("with_services", False):
        domains += [domain("MDPH SD", MDPH, issuer), domain("CA SD", CA, issuer)]
    places = {third_party: {"mode": "AM", "under": "third party", "role": "SP SD"}}
    if delegated is not None:
        places[delegated] = {"mode": "DM", "under": "Central SD", "role": "SP SD with DM"}
    place = {"mode": "CM", "under": "Central SD", "role": "SP SD"}
    described = {"name": "figure 7", "configuration": 700, "domains": domains}
    return {**described, "place": place, "places": places, **more}


def figure_800(issuer: str, mno: str, third_party: str, delegated: str | None = None, **more: Any) -> Json:
    """Return configuration 800: 700 on a UICC, with the operator's domain."""
    whole = figure_700(issuer, third_party, delegated, **more)
    domains = [*whole["domains"], domain("MNO SD", MNO, mno)]
    return {**whole, "name": "figure 8", "configuration": 800, "domains": domains}

"""What a service provider is told about a kind of card."""

from opentsm.card.profiles import Contactless, SeProfile
from opentsm.tsm.roles.sp.profiles import document


def test_document_when_the_card_has_a_csp_then_version_and_vendor_are_shown() -> None:
    profile = SeProfile(name="x", csp_version="1.0", csp_vendor="Vendor")
    assert document(profile)["csp"] == {"apiVersion": "1.0", "vendor": "Vendor"}
    assert document(SeProfile(name="x"))["csp"] == {}


def test_document_when_the_registry_has_no_crs_then_contactless_services_are_still_told() -> None:
    shown = document(SeProfile(name="x", contactless=Contactless.REGISTRY_UPDATE))
    assert shown["gpSpecVersions"] == {"card": "2.3.1", "scp03": "1.1.1", "contactlessServices": "1.3"}

"""Identifiers of subscriptions: one form each, and nothing of a refused one is repeated."""

import pytest

from opentsm.tsm.domain.secure_element import SeIdentifierType
from opentsm.tsm.domain.subscription import (
    DIGEST_MARK,
    SUBSCRIPTION_STATES,
    MsIdentifierType,
    SubscriptionEvent,
    SubscriptionState,
    digested,
    name_of,
    normalised,
)
from opentsm.tsm.kernel.errors import IllegalTransitionError, InvalidInputError


@pytest.mark.parametrize(
    "written", ["+49 30 1234567", "0049301234567", "+49 (30) 123-45.67", " +49/30/1234567 "]
)
def test_number_when_written_in_any_way_then_one_form(written: str) -> None:
    assert normalised(MsIdentifierType.MSISDN, written).value == "+49301234567"


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (MsIdentifierType.MSISDN, "0301234567"),  # without country code
        (MsIdentifierType.MSISDN, "+0301234567"),
        (MsIdentifierType.MSISDN, "+491234567890123456"),  # E.164: at most 15 digits
        (MsIdentifierType.MSISDN, "+49123"),
        (MsIdentifierType.MSISDN, "+4930123456²"),
        (MsIdentifierType.IMSI, "2620112345678901"),
        (MsIdentifierType.IMSI, "26201-1234"),
        (MsIdentifierType.ALIAS, "   "),
        (MsIdentifierType.ALIAS, "a\nb"),
        (MsIdentifierType.GENERIC, "x" * 65),
    ],
)
def test_identifier_when_none_of_its_kind_then_refused_without_repeating_it(
    type_: MsIdentifierType, value: str
) -> None:
    with pytest.raises(InvalidInputError) as refused:
        normalised(type_, value)
    assert refused.value.field == "/identifier/value"
    assert value.strip() == "" or value.strip() not in str(refused.value)


def test_identifier_when_shown_then_only_its_type() -> None:
    assert "1234567" not in repr(normalised(MsIdentifierType.MSISDN, "+49301234567"))


def test_types_then_none_is_called_like_one_of_a_secure_element() -> None:
    assert not {one.value for one in MsIdentifierType} & {one.value for one in SeIdentifierType}


def test_name_then_is_told_from_names_of_secure_elements_and_differs_by_type() -> None:
    assert name_of(bytes(32)) == f"{DIGEST_MARK}{'A' * 22}"
    imsi, alias = (normalised(t, "262011234567") for t in (MsIdentifierType.IMSI, MsIdentifierType.ALIAS))
    assert digested(imsi) != digested(alias)


def test_ended_subscription_when_anything_happens_then_illegal() -> None:
    for event in SubscriptionEvent:
        with pytest.raises(IllegalTransitionError):
            SUBSCRIPTION_STATES.next(SubscriptionState.ENDED, event)

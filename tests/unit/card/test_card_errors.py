"""The error tree of the card library."""

import pytest

from opentsm.card import errors


def test_card_error_without_message_uses_its_docstring() -> None:
    assert str(errors.ResponseMacError()) == "The R-MAC of the answer is missing or wrong."


def test_card_error_with_message_keeps_it() -> None:
    assert str(errors.TlvError("at offset 3")) == "at offset 3"


@pytest.mark.parametrize("kind", [errors.CardCryptogramError, errors.ResponseMacError])
def test_channel_errors_are_secure_channel_errors(kind: type[errors.CardError]) -> None:
    assert issubclass(kind, errors.SecureChannelError)
    assert issubclass(kind, errors.CardError)

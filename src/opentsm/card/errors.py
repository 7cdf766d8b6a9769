"""Errors of the card library: one tree, each class's docstring is its default message.

CardError
├── TlvError                 bytes are not the TLV, LV or DGI structure expected
├── ApduError                bytes are not an APDU, or a command cannot be coded
├── AidError                 not an AID
├── PaddingError             wrong padding, or data that is not whole cipher blocks
├── KeyFormatError           a key or key data field has the wrong size or structure
├── CertificateError         a certificate is malformed, not the issuer's, not valid or for another purpose
├── SignatureError           a token, receipt, DAP block or other signature does not verify
├── ReceiptError             a receipt is missing or about something else
├── DiversificationError     card keys cannot be derived from the given data
├── SecureChannelError       a secure-channel rule is broken
│   ├── CardCryptogramError  the card did not prove that it holds the keys
│   └── ResponseMacError     an answer is not authentic
├── ResponseFormatError      an answer's data is not what the command promises
├── OtaError                 an over-the-air message is malformed, or cannot be made as asked
│   └── PacketChecksumError  its checksum is wrong or missing: other keys, or a changed message
├── CapError                 not a usable CAP or load file
├── ScriptError              a script of commands is not consistent
└── ProfileError             a card profile is malformed
"""

from inspect import cleandoc


class CardError(Exception):
    """The card operation is not possible."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or cleandoc(type(self).__doc__ or type(self).__name__))


class TlvError(CardError):
    """The data is not well-formed TLV."""


class ApduError(CardError):
    """The data is not a well-formed APDU."""


class AidError(CardError):
    """An application identifier has 5 to 16 bytes."""


class PaddingError(CardError):
    """The data is not padded to whole cipher blocks."""


class KeyFormatError(CardError):
    """The key has the wrong size or structure."""


class CertificateError(CardError):
    """The certificate cannot be trusted."""


class SignatureError(CardError):
    """The signature is not one of this key over these bytes."""


class ReceiptError(CardError):
    """The receipt does not confirm this operation."""


class DiversificationError(CardError):
    """The card's keys cannot be derived from this diversification data."""


class SecureChannelError(CardError):
    """The secure channel does not allow this."""


class CardCryptogramError(SecureChannelError):
    """The card cryptogram is wrong: the card does not hold these keys."""


class ResponseMacError(SecureChannelError):
    """The R-MAC of the answer is missing or wrong."""


class ResponseFormatError(CardError):
    """The card's answer does not have the format that the command promises."""


class OtaError(CardError):
    """The over-the-air message is malformed."""


class PacketChecksumError(OtaError):
    """The checksum of the secured packet is wrong: other keys, or a changed packet."""


class CapError(CardError):
    """The file is not a usable CAP file or load file."""


class ScriptError(CardError):
    """The script is not consistent."""


class ProfileError(CardError):
    """The card profile is malformed."""

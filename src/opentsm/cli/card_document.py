"""A virtual card as one JSON document, to be moved or kept: readable, or sealed with a passphrase.

The document holds the card's keys. Sealed, everything but the header is under AES-256-GCM; the key comes from
the passphrase by scrypt (RFC 7914), and the header is authenticated with the content.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from opentsm.card.crypto.secret import Secret
from opentsm.vse.image_check import check_image
from opentsm.vse.keys_document import check_keys_document
from opentsm.vse.state import IMAGE_VERSION, CardImage

FORMAT = "opentsm-card/1"
MIN_PASSPHRASE_BYTES = 8
_SALT_BYTES, _NONCE_BYTES, _KEY_BYTES = 16, 12, 32
# 32 MiB of memory a try.
_N, _R, _P = 2**15, 8, 3
WARNING = "this file holds the keys of the card in clear"


class CardDocumentError(ValueError):
    """The document is no virtual card, is damaged, or the passphrase is another one."""


@dataclass(frozen=True, slots=True)
class ExportedCard:
    """What a document holds.

    Attributes:
        identity: what `card.json` says.
        keys: what `keys.json` says.
        image: the content of the card's memory.
    """

    identity: dict[str, object]
    keys: dict[str, object] = field(repr=False)
    image: CardImage = field(repr=False)


def write_document(
    card: ExportedCard, passphrase: Secret | None, random: Callable[[int], bytes]
) -> dict[str, object]:
    """Return a card as a JSON value.

    Args:
        card: the card.
        passphrase: seals the document; None leaves it readable.
        random: random bytes for salt and nonce.
    """
    content = msgspec.json.encode({"identity": card.identity, "keys": card.keys, "image": card.image})
    if passphrase is None:
        body: dict[str, object] = json.loads(content)
        return {"format": FORMAT, "sealed": False, "warning": WARNING, **body}
    salt, nonce = random(_SALT_BYTES), random(_NONCE_BYTES)
    sealed = AESGCM(_key(passphrase, salt)).encrypt(nonce, content, FORMAT.encode())
    fields = {"salt": salt, "nonce": nonce, "content": sealed}
    encoded = {name: base64.b64encode(value).decode("ascii") for name, value in fields.items()}
    return {"format": FORMAT, "sealed": True, **encoded}


def read_document(document: object, passphrase: Secret | None) -> ExportedCard:
    """Read a document.

    Args:
        document: the JSON value.
        passphrase: for a sealed one.

    Raises:
        CardDocumentError: another format, damaged, no passphrase, or another one.
    """
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        found = document.get("format") if isinstance(document, dict) else None
        raise CardDocumentError(f"this is no document of format {FORMAT} (it says {str(found)[:40]!r})")
    content = _opened(document, passphrase) if document.get("sealed") is True else document
    try:
        image = msgspec.convert(content["image"], CardImage, strict=False)
        identity, keys = content["identity"], content["keys"]
        if not isinstance(identity, dict) or not isinstance(keys, dict) or not image.instances:
            raise TypeError("identity and keys are objects, and a card has an issuer security domain")
    except (KeyError, TypeError, ValueError) as error:
        raise CardDocumentError(f"the document is damaged: {error}") from error
    if image.version != IMAGE_VERSION:
        raise CardDocumentError(f"card image of version {image.version}, this program reads {IMAGE_VERSION}")
    try:
        check_keys_document(keys)
        check_image(image)
    except ValueError as error:
        raise CardDocumentError(f"the document holds no card: {error}") from error
    return ExportedCard(identity, keys, image)


def _opened(document: dict[str, object], passphrase: Secret | None) -> dict[str, object]:
    if passphrase is None:
        raise CardDocumentError("the document is sealed: give its passphrase")
    try:
        fields = (document["salt"], document["nonce"], document["content"])
        salt, nonce, sealed = (base64.b64decode(str(value), validate=True) for value in fields)
        clear = AESGCM(_key(passphrase, salt)).decrypt(nonce, sealed, FORMAT.encode())
    except InvalidTag:
        raise CardDocumentError("the passphrase is another one, or the document was changed") from None
    except (KeyError, ValueError) as error:
        raise CardDocumentError(f"the sealed document is damaged: {error}") from error
    try:
        content = json.loads(clear)
    except (ValueError, RecursionError) as error:
        raise CardDocumentError("the sealed document is damaged: it holds no JSON") from error
    if not isinstance(content, dict):
        raise CardDocumentError("the sealed document is damaged: it holds no object")
    return content


def _key(passphrase: Secret, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=_KEY_BYTES, n=_N, r=_R, p=_P).derive(passphrase.reveal())

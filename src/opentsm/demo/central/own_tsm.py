"""The provider's own TSM: keys of its own making, scripts that it wraps itself, sent in a conversation."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import ResponseApdu
from opentsm.card.crypto.secret import Secret
from opentsm.card.errors import CardError
from opentsm.card.gp import commands as gp
from opentsm.card.gp.keys import KeyType, StaticKeys, put_key_fields
from opentsm.card.scp.channel import SecurityLevel, parse_initialize_update
from opentsm.card.scp.session import derive_session_keys, open_channel, session_dek
from opentsm.demo.errors import VerificationError
from opentsm.demo.http_api import Caller, Json

KEY_INDEX: Final = "sp-tsm-1"
RANDOM_KEYS: Final = {"keyProvisioningMode": 3, "keyIndex": KEY_INDEX}
_KEY_BYTES, _CHALLENGE_BYTES, _TRANSPORT_BYTES = 16, 8, 32
_OK: Final = 0x9000


@dataclass(frozen=True, slots=True)
class DomainKeys:
    """A key set of a security domain."""

    domain: Aid
    kvn: int
    keys: StaticKeys

    def successor(self) -> "DomainKeys":
        """Make the key set that is to replace it."""
        fresh = StaticKeys(*(Secret(secrets.token_bytes(_KEY_BYTES)) for _ in range(3)))
        return DomainKeys(self.domain, self.kvn + 1, fresh)


@dataclass(slots=True)
class OwnTsm:
    """The provider's TSM.

    Args:
        caller: the provider.
    """

    caller: Caller
    transport: Secret = field(default_factory=lambda: Secret(secrets.token_bytes(_TRANSPORT_BYTES)))

    async def register_transport_key(self) -> None:
        """Say under which key the provider is told keys."""
        await self.caller.put(f"/v1/transport-keys/{KEY_INDEX}", {"key": self.transport.reveal().hex()})

    async def domain_keys(self, instance_id: str) -> DomainKeys:
        """Fetch and unwrap the keys of an instance's domain.

        Raises:
            VerificationError: they do not open under the transport key.
        """
        told = await self.caller.get(f"/v1/instances/{instance_id}/domain-keys")
        try:
            clear = aes_key_unwrap(self.transport.reveal(), bytes.fromhex(told["keys"]))
        except (InvalidUnwrap, ValueError) as error:
            raise VerificationError("the keys that the provider is told do not open") from error
        keys = StaticKeys(
            *(Secret(clear[at : at + _KEY_BYTES]) for at in range(0, 3 * _KEY_BYTES, _KEY_BYTES))
        )
        return DomainKeys(Aid.from_hex(told["security_domain"]), int(told["key_version"]), keys)

    async def begin(self, se_id: str, domain: Aid) -> "Conversation":
        """Begin a conversation about a domain."""
        body = {
            "SecureElement": {"SEId_Generic": {"Id": se_id, "Type": "OPENTSM"}},
            "TargetIdentifier": str(domain),
            "RequestedOperation": "rotation of keys",
        }
        answer = await _call(self.caller, "BeginConversation", body)
        if answer["ConversationState"] != "OPEN":
            raise VerificationError(f"the conversation is {answer['ConversationState']}")
        return Conversation(self.caller, answer)


@dataclass(frozen=True, slots=True)
class Conversation:
    """An open conversation with a secure element."""

    caller: Caller
    answer: Json

    @property
    def operation_id(self) -> str:
        """The operation that carries it."""
        return str(self.answer["ProcessReference"])

    async def rotate(self, present: DomainKeys, new: DomainKeys) -> None:
        """Put a key set in place of the present one, by two scripts that nobody on the way can read.

        Raises:
            VerificationError: the card refuses, or its answers are not authentic.
        """
        challenge = secrets.token_bytes(_CHALLENGE_BYTES)
        opening = [gp.select(present.domain), gp.initialize_update(present.kvn, challenge)]
        opened = await self.say([one.to_bytes() for one in opening])
        try:
            init = parse_initialize_update(opened[1].data)
            session = derive_session_keys(present.keys, init, challenge)
            channel = open_channel(session, init, challenge)
            authenticate = channel.external_authenticate(SecurityLevel.FULL)
            fields = put_key_fields(new.keys, KeyType.AES, session_dek(session, init))
            put = channel.wrap(gp.put_key(new.kvn, fields, replace_kvn=present.kvn))
            answers = await self.say([authenticate.to_bytes(), put.raw])
            stored = channel.unwrap(answers[1], put.link)
        except CardError as error:
            raise VerificationError(f"the card's answers are not authentic: {error}") from error
        if stored.sw != _OK:
            raise VerificationError(f"PUT KEY was refused with {stored.sw:04X}")

    async def say(self, script: Sequence[bytes]) -> list[ResponseApdu]:
        """Send a script, and return an answer for each command.

        Raises:
            VerificationError: a command was refused.
        """
        number = self.answer["ConversationID"]
        body = {"ConversationID": number, "CommandAPDU": [one.hex() for one in script]}
        data = await _call(self.caller, "SendScript", body)
        answers = [ResponseApdu.parse(bytes.fromhex(one)) for one in data["ResponseAPDU"]]
        if "FailedAPDUIndex" in data or len(answers) != len(script):
            raise VerificationError(f"command {data.get('FailedAPDUIndex')} of the script was refused")
        return answers

    async def end(self) -> None:
        """End it."""
        body = {"ConversationID": self.answer["ConversationID"], "Status": "done"}
        answer = await _call(self.caller, "EndConversation", body)
        if answer["ConversationState"] != "ENDED":
            raise VerificationError(f"the conversation is {answer['ConversationState']}")


async def seen_by_phone_number(caller: Caller, number: str) -> Json:
    """Return what the registry tells a provider of the secure element of a subscriber."""
    return await _call(caller, "GetSEData", {"MobileSubscription": {"MSId_MSISDN": number}})


async def _call(caller: Caller, function: str, body: Json) -> Json:
    answer = await caller.post(f"/v1/messaging/{function}?wait=25", body)
    status = answer["FunctionExecutionStatus"]
    if status["Status"] != "Executed-Success":
        message = status.get("StatusCodeData", {}).get("Message", "")
        raise VerificationError(f"{function}: {status['Status']}. {message}")
    data: Json = answer.get("ResponseData", {})
    return data

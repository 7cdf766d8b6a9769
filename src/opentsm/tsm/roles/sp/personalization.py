"""Personalisation data: checked against recipes, sealed, and turned into data groupings when the time comes.

No message here holds a value; a fault is named by its field or by its place in the recipe.
"""

import dataclasses
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.codec.tlv import encode_tlv
from opentsm.card.crypto.secret import Secret
from opentsm.tsm.custody.plain import application_key_handle
from opentsm.tsm.domain.card_content import Attestation, ServiceDescription
from opentsm.tsm.domain.exchange import Expected
from opentsm.tsm.domain.secure_element import KeySet
from opentsm.tsm.engine import steps as s
from opentsm.tsm.engine.compile import (
    AttestationToken,
    Grouping,
    PersonalizationCommand,
    PersonalizationItem,
)
from opentsm.tsm.kernel.documents import from_json, to_json
from opentsm.tsm.kernel.errors import InvalidInputError, InvariantError, NotFoundError
from opentsm.tsm.kernel.ids import InstanceId, TenantId
from opentsm.tsm.ports.keystore import ChannelContext, Keystore
from opentsm.tsm.ports.peer import SegmentRequest, ServiceMaterial
from opentsm.tsm.ports.unit_of_work import Storage, UnitOfWork
from opentsm.tsm.roles.sp import recipes as r
from opentsm.tsm.roles.sp import shelf
from opentsm.tsm.roles.sp.attestation import AttestationDesk
from opentsm.tsm.roles.sp.recipe_commands import MAX_DATA
from opentsm.tsm.roles.sp.recipe_fields import fault_in
from opentsm.tsm.roles.sp.recipe_format import MAX_VALUE, read_recipe

CIPHER_BLOCK = 16
_KEY_BYTES = 16
Values = Mapping[str, str]
NOTHING: Values = MappingProxyType({})
Random = Callable[[int], bytes]
KeySource = Callable[[r.DerivedKey, bytes], Awaitable[Secret]]


def context_of(instance_id: InstanceId) -> str:
    """Return the context to which an instance's data are sealed."""
    return f"instance:{instance_id}"


# --- checking ----------------------------------------------------------------------------------


async def complete(
    recipes: Sequence[r.Recipe], data: Values, random: Random, parameters: Values = NOTHING
) -> dict[str, str]:
    """Return the data of an instance, generated fields filled in.

    Args:
        recipes: of all applications of the service; fields of the same name are the same datum.
        data: by field name.
        random: gives random bytes.
        parameters: of the service and its flavor (spParameters).

    Raises:
        InvalidInputError: a field is unknown, missing or malformed, or its value does not fit a grouping.
    """
    fields = [field for recipe in recipes for field in recipe.fields.values()]
    known = {field.name for field in fields}
    for name in data:
        if name not in known:
            raise _refused(name[:64], "is not a field of the service's recipes")
    values = dict(data)
    for field in fields:
        if field.name not in values:
            if field.generated is None:
                raise _refused(field.name, "is missing")
            values[field.name] = _generate(field, random)
        _check_field(field, values[field.name])
    for recipe in recipes:
        await evaluate(recipe, values, _no_key, parameters)
        for target in r.Target:
            await commands_for(recipe, target, values, parameters)
    return values


async def _no_key(_part: r.DerivedKey, _diversifier: bytes) -> Secret:
    return Secret(bytes(_KEY_BYTES))


def _refused(name: str, why: str) -> InvalidInputError:
    pointer = name.replace("~", "~0").replace("/", "~1")  # RFC 6901 §3
    return InvalidInputError(f"The personalisation datum {name} {why}.", field=f"/data/{pointer}")


def _check_field(field: r.Field, value: str) -> None:
    fault = fault_in(field, value)
    if fault is not None:
        raise _refused(field.name, fault)


def _generate(field: r.Field, random: Random) -> str:
    count = field.generated or 0
    if field.type is r.FieldType.HEX:
        return random(count).hex().upper()
    # 8 bytes more than needed: the bias towards small numbers is below 2^-64
    number = int.from_bytes(random(count // 2 + 9), "big") % 10**count
    return f"{number:0{count}d}"


# --- evaluating --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ClearGrouping:
    """A data grouping before encryption."""

    recipe: r.GroupingRecipe
    value: Secret


async def evaluate(
    recipe: r.Recipe, values: Values, key_of: KeySource, parameters: Values = NOTHING
) -> tuple[ClearGrouping, ...]:
    """Return the data groupings of a recipe, in order, not yet encrypted.

    Args:
        recipe: what to make.
        values: every field, checked.
        key_of: derives a card's key from a name and a diversifier.
        parameters: of the service and its flavor.

    Raises:
        InvalidInputError: a value is too long, is not whole cipher blocks although it is to be encrypted, or
            a diversifier does not have the length that its derivation needs.
    """
    evaluation = _Evaluation(recipe, values, key_of, parameters)
    return tuple([await evaluation.grouping(grouping) for grouping in recipe.groupings])


async def commands_for(
    recipe: r.Recipe, target: r.Target, values: Values, parameters: Values
) -> tuple[PersonalizationCommand, ...]:
    """Return the commands of a recipe that go to a target, in order.

    Raises:
        InvalidInputError: a data field is too long.
    """
    evaluation = _Evaluation(recipe, values, _no_key, parameters)
    wanted = [command for command in recipe.commands if command.target is target]
    return tuple([await evaluation.command(command) for command in wanted])


@dataclass(frozen=True, slots=True)
class _Evaluation:
    recipe: r.Recipe
    values: Values = dataclasses.field(repr=False)
    key_of: KeySource
    parameters: Values

    async def grouping(self, grouping: r.GroupingRecipe) -> ClearGrouping:
        value = await self._join(grouping.parts)
        if len(value) > MAX_VALUE:
            raise InvalidInputError(f"The recipe's {grouping.path} becomes longer than {MAX_VALUE} bytes.")
        if grouping.encrypted and (not value or len(value) % CIPHER_BLOCK):
            raise InvalidInputError(
                f"The recipe's {grouping.path} is to be encrypted but has {len(value)} bytes,"
                f" not a multiple of {CIPHER_BLOCK}.",
                advice="Correct the recipe: pad the value as the application expects it.",
            )
        return ClearGrouping(grouping, Secret(value))

    async def command(self, command: r.RecipeCommand) -> PersonalizationCommand:
        data, limit = await self._join(command.parts), MAX_DATA[command.target]
        if len(data) > limit:
            raise InvalidInputError(
                f"The data of the recipe's {command.path} become longer than {limit} bytes."
            )
        apdu = CommandApdu(*command.header, data, ne=command.ne)
        return PersonalizationCommand(apdu, Expected(status_words=command.expected), command.tag)

    async def _join(self, parts: Sequence[r.Part]) -> bytes:
        return b"".join([await self._bytes(part) for part in parts])

    async def _bytes(self, part: r.Part) -> bytes:
        match part:
            case r.Constant():
                return part.value
            case r.FieldValue():
                return self._field(part)
            case r.Nibbles():
                return self._nibbles(part)
            case r.Wrapped():
                return encode_tlv(part.tag, await self._join(part.parts))
            case r.SpParameter():
                return self._parameter(part)
            case r.RecipeVersion():
                return self.recipe.version.encode("ascii")
            case r.DerivedKey():
                return (await self._key(part)).reveal()

    def _field(self, part: r.FieldValue) -> bytes:
        field, value = self.recipe.fields[part.field], self.values[part.field]
        match part.encoding:
            case r.Encoding.HEX:
                return bytes.fromhex(value)
            case r.Encoding.ASCII:
                return value.encode("ascii")
            case r.Encoding.UTF8:
                return value.encode()
            case r.Encoding.CN:
                return _left_justified(value)
            case r.Encoding.BINARY:
                return _binary(field, value)
        return self._bcd(field, value)

    def _parameter(self, part: r.SpParameter) -> bytes:
        value = self.parameters.get(part.name)
        if value is None:
            raise InvalidInputError(
                f"The recipe needs the service's parameter {part.name}, which is not there.",
                advice="Add it to the spParameters of the service or of the flavor.",
            )
        try:
            if part.encoding is r.Encoding.HEX:
                return bytes.fromhex(value)
            return value.encode("ascii" if part.encoding is r.Encoding.ASCII else "utf-8")
        except ValueError:
            raise InvalidInputError(
                f"The service's parameter {part.name} is not {part.encoding.value}, as the recipe takes it."
            ) from None

    def _bcd(self, field: r.Field, value: str) -> bytes:
        if field.type is r.FieldType.DIGITS:
            return bytes.fromhex(value.zfill(len(value) + len(value) % 2))
        digits = str(int(value)).zfill(2 * field.size)
        if len(digits) > 2 * field.size:
            raise _refused(field.name, f"does not fit {field.size} bytes BCD")
        return bytes.fromhex(digits)

    def _nibbles(self, part: r.Nibbles) -> bytes:
        text = "".join(
            item if isinstance(item, str) else self.values[item.field].replace(" ", "") for item in part.items
        )
        if part.last is None:
            return _left_justified(text)
        return bytes.fromhex(text[-part.last :].zfill(part.last))

    async def _key(self, part: r.DerivedKey) -> Secret:
        diversifier = await self._join(part.diversify)
        if part.derivation is r.Derivation.EMV_OPTION_A and len(diversifier) != 8:
            raise InvalidInputError(
                f"The recipe's key {part.name} is derived by Option A of EMV from {len(diversifier)} bytes,"
                " not from 8.",
                advice="Correct the recipe: take the last 16 digits of card and sequence number.",
            )
        return await self.key_of(part, diversifier)


def _binary(field: r.Field, value: str) -> bytes:
    return bytes.fromhex(value) if field.type is r.FieldType.HEX else int(value).to_bytes(field.size, "big")


def _left_justified(digits: str) -> bytes:
    return bytes.fromhex(digits + "F" * (len(digits) % 2))


# --- on the way to the card --------------------------------------------------------------------


class RecipePersonalization:
    """Implements `custody.PersonalizationSource` for one provider."""

    def __init__(
        self,
        provider_id: TenantId,
        storage: Storage,
        keystore: Keystore,
        attestation: AttestationDesk | None = None,
    ) -> None:
        self._provider_id = provider_id
        self._storage = storage
        self._keystore = keystore
        self._attestation = attestation

    async def groupings(
        self, request: SegmentRequest, step: s.Personalize, keys: KeySet, context: ChannelContext
    ) -> tuple[PersonalizationItem, ...]:
        """Return what the application gets: attestation token, groupings encrypted where the recipe says so.

        Raises:
            NotFoundError: instance or recipe do not exist for this provider.
            InvalidInputError: the instance's data were erased after an earlier personalisation.
            InvariantError: the recipe is not the version that was planned.
        """
        service = self._service(request)
        async with self._storage.transaction() as tx:
            recipe = await load_recipe(tx, self._provider_id, step.recipe_id) if step.recipe_id else None
        token = await self._token(request, service.description, step, keys)
        if recipe is None:
            return token
        if recipe.version != step.personalization:
            raise InvariantError("The recipe on record has another version than the plan.")
        parameters = service.description.sp_parameters
        values = await self._values(service, request)
        clear = await evaluate(recipe, values, self._key_of, parameters)
        sent = await commands_for(recipe, r.Target.PERSONALIZATION, values, parameters)
        return (*token, *[await self._encrypted(grouping, keys, context) for grouping in clear], *sent)

    async def commands(
        self, request: SegmentRequest, step: s.RunCommands
    ) -> tuple[PersonalizationCommand, ...]:
        """Return what a recipe sends to the application itself.

        Raises:
            NotFoundError: instance or recipe do not exist for this provider.
            InvalidInputError: the instance's data were erased after an earlier personalisation.
        """
        service = self._service(request)
        async with self._storage.transaction() as tx:
            recipe = await load_recipe(tx, self._provider_id, step.recipe_id)
        parameters = service.description.sp_parameters
        values = await self._values(service, request)
        return await commands_for(recipe, r.Target.APPLICATION, values, parameters)

    async def _values(self, service: ServiceMaterial, request: SegmentRequest) -> dict[str, str]:
        data = service.sealed_data
        if not data:
            raise InvalidInputError(
                "This instance's personalisation data were erased when its card had proved to hold them.",
                advice="Terminate the instance and deploy the service anew, with its data.",
            )
        sealed = await self._keystore.open(data, context=context_of(InstanceId(str(request.instance_id))))
        return from_json(dict[str, str], sealed)

    async def _token(
        self, request: SegmentRequest, description: ServiceDescription, step: s.Personalize, keys: KeySet
    ) -> tuple[AttestationToken, ...]:
        wanted = {app.instance_aid: app.attestation for app in description.applications}
        attestation = wanted.get(step.application, Attestation.NONE)
        if attestation is Attestation.NONE:
            return ()
        if self._attestation is None:
            raise InvariantError("An attestation token is wanted where none can be made.")
        token = await self._attestation.token(
            self._provider_id,
            process=request.operation_id,
            flavor=description.flavor_id,
            keys=keys,
            diversification=attestation is Attestation.DIVERSIFICATION,
        )
        return (AttestationToken(token),)

    def _service(self, request: SegmentRequest) -> ServiceMaterial:
        service = request.service
        if service is None or service.description.provider_id != self._provider_id:
            raise NotFoundError("There is no such service instance to personalise.")
        return service

    async def _key_of(self, part: r.DerivedKey, diversifier: bytes) -> Secret:
        master = application_key_handle(self._provider_id, part.name)
        if part.derivation is r.Derivation.EMV_OPTION_A:
            return await self._keystore.derive_emv_card_key(master, diversifier)
        return await self._keystore.derive_application_key(master, diversifier)

    async def _encrypted(self, clear: ClearGrouping, keys: KeySet, context: ChannelContext) -> Grouping:
        recipe = clear.recipe
        value = clear.value.reveal()
        if recipe.encrypted:
            value = await self._keystore.encrypt_under_dek(keys.bound, context, clear.value)
        return Grouping(recipe.dgi, value, recipe.encrypted)


async def load_recipe(tx: UnitOfWork, owner: TenantId, recipe_id: str) -> r.Recipe:
    """Return a recipe as it was when it was uploaded.

    Raises:
        NotFoundError: this provider has no such recipe.
    """
    data = await tx.catalogue.file(owner, shelf.RECIPE, recipe_id)
    if data is None:
        raise NotFoundError("There is no such personalisation recipe.")
    return read_recipe(data)


async def seal(keystore: Keystore, instance_id: InstanceId, values: Mapping[str, Any]) -> bytes:
    """Seal an instance's data."""
    return await keystore.seal(to_json(dict(values)), context=context_of(instance_id))

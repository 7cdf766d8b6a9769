"""Personalisation scripts (TR-03165 §4.1.6.7), and the master keys that their recipes derive from."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from opentsm.card.crypto.secret import Secret
from opentsm.tsm.custody.plain import application_key_handle
from opentsm.tsm.kernel.errors import ConflictError, InvalidInputError, KeystoreError
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.ports.keystore import Keystore
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.sp import errors, forms, shelf
from opentsm.tsm.roles.sp.desk import FileDesk
from opentsm.tsm.roles.sp.forms import Document
from opentsm.tsm.roles.sp.recipe_format import FORMAT, MAX_BYTES, is_key_name, read_recipe
from opentsm.tsm.roles.sp.recipe_values import RecipeError
from opentsm.tsm.roles.sp.recipes import Recipe
from opentsm.tsm.roles.sp.references import configurations_with
from opentsm.tsm.roles.sp.shelf import find, shown

RECIPE = "_recipe"
_KEY_LENGTH = 16
KeystoreOf = Callable[[TenantId], Keystore]


@dataclass(frozen=True, slots=True)
class ScriptDesk(FileDesk):
    """Use cases about personalisation scripts.

    A script's recipe is kept by its SHA-256 and stays when the script goes: instances on cards refer to it.
    """

    entity = shelf.SCRIPT
    keystore_of: KeystoreOf

    async def upload(self, owner: TenantId, file_name: str | None, data: bytes) -> Document:
        """Store a script whose recipe is in order; master keys that it names and nobody made are made.

        Raises:
            CatalogueError: 1002, 1013 with the place of the fault, or 1014.
        """
        if not file_name:
            raise errors.invalid_request("scriptFilename is missing")
        forms.text(file_name, "scriptFilename")
        recipe = _read(data)
        id_, now = self.shelf.world.new_id(), self.shelf.now()
        document: Document = {"id": id_, "spId": owner, "fileName": file_name}
        document |= {"creationDate": now, "uploadDate": now}
        await self._make_keys(owner, recipe)
        async with self.shelf.changing(owner) as tx:
            await _store(tx, document, recipe, data, "uploaded")
        return document

    async def replace(self, owner: TenantId, id_: str, file_name: str | None, data: bytes) -> Document:
        """Put another recipe in the place of a script's; without a name the old one stays.

        Instances on cards keep the recipe that they were made with; new ones get this one.

        Raises:
            CatalogueError: 1008, 1009, 1013 with the place of the fault, or 1014.
        """
        forms.text(file_name or "", "scriptFilename")
        await self.get(owner, id_)  # before keys are made for it
        recipe = _read(data)
        await self._make_keys(owner, recipe)
        async with self.shelf.changing(owner) as tx:
            document = shown(await find(tx, owner, shelf.SCRIPT, id_)) | {"uploadDate": self.shelf.now()}
            document["fileName"] = file_name or document["fileName"]
            await _store(tx, document, recipe, data, "replaced")
        return document

    async def _release(self, tx: UnitOfWork, owner: TenantId, id_: str) -> None:
        """Refuse the deletion of a script that an application configuration uses."""
        if await configurations_with(tx, owner, "personalizationScriptId", id_):
            raise errors.still_referenced("PersonalizationScript", "ApplicationConfig")

    async def import_application_key(self, owner: TenantId, name: str, key: Secret) -> None:
        """Take a master key of the provider's own choice, before a recipe makes one of this name.

        Args:
            owner: the provider.
            name: as recipes call it.
            key: 16 bytes.

        Raises:
            InvalidInputError: name or length is not possible.
            ConflictError: there is another key of this name.
        """
        if not is_key_name(name):
            raise InvalidInputError(
                "A key's name is a small letter, then small letters, digits or -, at most 64.", field="name"
            )
        if len(key) != _KEY_LENGTH:
            raise InvalidInputError(f"An application key has {_KEY_LENGTH} bytes.", field="/key")
        try:
            await self.keystore_of(owner).import_key(application_key_handle(owner, name), key)
        except KeystoreError as error:
            raise ConflictError(
                f"The keystore did not take the key {name}: it holds another one of this name.",
                advice="Use a new name; a master key in use is never replaced.",
            ) from error
        async with self.shelf.storage.transaction() as tx:
            await tx.audit.append(owner, actor=owner, action="application-key.imported", subject=name)
            await tx.commit()

    async def _make_keys(self, owner: TenantId, recipe: Recipe) -> None:
        """Generate the master keys that are not there; one made for an upload that fails then is harmless."""
        for name in sorted(recipe.keys):
            handle = application_key_handle(owner, name)
            await self.keystore_of(owner).generate(handle, length_bytes=_KEY_LENGTH)


async def recipe_id_of(tx: UnitOfWork, owner: TenantId, settings: Document) -> str | None:
    """Return the id of the recipe that an application configuration's script is now; None: it has none."""
    script_id = shelf.part(settings, "personalizationConfig").get("personalizationScriptId")
    if not script_id:
        return None
    return str((await find(tx, owner, shelf.SCRIPT, str(script_id)))[RECIPE])


async def _store(tx: UnitOfWork, document: Document, recipe: Recipe, data: bytes, happened: str) -> None:
    owner = TenantId(str(document["spId"]))
    id_, recipe_id = str(document["id"]), hashlib.sha256(data).hexdigest()
    await tx.catalogue.put(owner, shelf.RECIPE, recipe_id, {"version": recipe.version}, file=data)
    await tx.catalogue.put(owner, shelf.SCRIPT, id_, document | {RECIPE: recipe_id}, file=data)
    details = {"version": recipe.version, "sha256": recipe_id, "keys": ",".join(sorted(recipe.keys))}
    await shelf.record(tx, owner, shelf.SCRIPT, id_, happened, **details)


def _read(data: bytes) -> Recipe:
    if len(data) > MAX_BYTES:
        raise errors.file_too_large(len(data), MAX_BYTES)
    try:
        return read_recipe(data)
    except RecipeError as error:
        raise errors.invalid_file_type(f"{FORMAT} (JSON)", f"{error}.") from error

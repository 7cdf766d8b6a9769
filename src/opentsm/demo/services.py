"""The demo's two services, from an empty account to published versions, through the TR-03165 API."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.resources import files
from typing import Final

from opentsm.demo.http_api import SPTSM_PATH, Caller, Json

_ELF_PARTS: Final = ("elfFilename", "elfFile")
_SCRIPT_PARTS: Final = ("scriptFilename", "scriptFile")


@dataclass(frozen=True, slots=True)
class ServiceKind:
    """What the provider offers: its load file, recipe and instance, and whether the SD gets it afterwards.

    `nfc` says whether terminals find it, `app` is the hash of the certificate of the app that may use it,
    `features` are further members of its flavor's feature configuration.
    """

    name: str
    load_file: str
    recipe: str
    instance: str
    module: str
    package: str
    extradite: bool = False
    nfc: bool = False
    app: str = ""
    features: Mapping[str, object] = field(default_factory=dict)


# What a phone computes of the certificate with which the bank's app is signed.
BANK_APP: Final = sha256(b"certificate of the demo bank's app").hexdigest().upper()
BANK: Final = ServiceKind(
    name="Bank card",
    load_file="bank.cap",
    recipe="bank.json",
    instance="F04F54534D010101",
    module="F04F54534D0101",
    package="F04F54534D01",
    nfc=True,
    app=BANK_APP,
)
TRANSIT: Final = ServiceKind(
    name="Transit pass",
    load_file="transit.ijc",
    recipe="transit.json",
    instance="F04F54534D020101",
    module="F04F54534D0201",
    package="F04F54534D02",
    extradite=True,
    nfc=True,
)
BADGE: Final = ServiceKind(
    name="Access badge",
    load_file="badge.cap",
    recipe="badge.json",
    instance="F04F54534D030101",
    module="F04F54534D0301",
    package="F04F54534D03",
)


@dataclass(frozen=True, slots=True)
class Service:
    """A published service."""

    id: str
    kind: ServiceKind
    sd_aid: str


@dataclass(frozen=True, slots=True)
class Shelf:
    """The provider's repository on the server.

    Args:
        door: the provider with its short-term token.
    """

    door: Caller

    async def upload_load_file(self, kind: ServiceKind) -> Json:
        """Upload the load file, zipped or raw as it is."""
        data = files("opentsm.demo").joinpath("caps", kind.load_file).read_bytes()
        path = f"{SPTSM_PATH}/executable-load-files"
        return await self.door.upload(path, _ELF_PARTS, kind.load_file, data)

    async def upload_recipe(self, kind: ServiceKind) -> Json:
        """Upload the personalisation recipe; the provider's keys must be there before."""
        data = files("opentsm.demo").joinpath("recipes", kind.recipe).read_bytes()
        path = f"{SPTSM_PATH}/personalization-scripts"
        return await self.door.upload(path, _SCRIPT_PARTS, kind.recipe, data)

    async def publish(
        self, kind: ServiceKind, load_file: Json, recipe: Json, profiles: Sequence[str]
    ) -> Service:
        """Define and publish a service for some card profiles, by their names."""
        apps = {"accessAuthorizedDeviceApps": [kind.app]} if kind.app else {}
        service = await self.door.post(f"{SPTSM_PATH}/services", {"name": kind.name, **apps})
        path = f"{SPTSM_PATH}/services/{service['id']}"
        flavor = await self.door.post(f"{path}/flavors", await self._flavor(kind, load_file, recipe))
        allowed = {flavor["id"]: await self._profile_ids(profiles)}
        await self.door.post(f"{path}/versions", {"tag": "1.0.0", "allowedDeployments": allowed})
        await self.door.post(f"{path}/flavors/{flavor['id']}/publish")
        return Service(service["id"], kind, service["sdAid"])

    async def _flavor(self, kind: ServiceKind, load_file: Json, recipe: Json) -> Json:
        path = f"{SPTSM_PATH}/executable-load-files/{load_file['id']}/executable-modules"
        modules = await self.door.get(path)
        module = next(one for one in modules if one["aid"] == kind.module)
        config = await self.door.post(
            f"{SPTSM_PATH}/application-configs",
            {
                "instanceAid": kind.instance,
                "name": kind.name,
                "activationConfig": {"accessibleViaNfc": kind.nfc, "accessibleViaApdu": bool(kind.app)},
                "personalizationConfig": {"personalizationScriptId": recipe["id"]},
            },
        )
        return {
            "name": kind.name,
            "executableLoadFileIds": [load_file["id"]],
            "applicationInstantiationConfigs": [
                {"executableModuleId": module["id"], "applicationConfigId": config["id"]}
            ],
            "featureConfig": {"genericOptions": {"extradite": kind.extradite}, **kind.features},
        }

    async def _profile_ids(self, names: Sequence[str]) -> list[str]:
        known = await self.door.get(f"{SPTSM_PATH}/secure-component-profiles")
        return [str(profile["id"]) for profile in known if profile["name"] in names]

"""What stands in a provider's repository while requests are drawn, and how it comes into them.

No drawn id exists, and no drawn file is a load file, but by a miracle. So most drawn ids become those of a
scene, which holds one of everything that belongs together, and every other drawn file becomes a real one.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
from schemathesis.transport.serialization import Binary
from tests.scenario import sptsm_bench

Json = dict[str, Any]
Ids = dict[str, str]

TAG = "1.0.0"
CAP = "bank.cap"
LEFT_OF = 8  # one drawn id of so many stays what it is
FILES: dict[str, bytes] = {
    "elfFile": (sptsm_bench.CAPS / CAP).read_bytes(),
    "scriptFile": (sptsm_bench.SOURCE / "demo/recipes/badge.json").read_bytes(),
    "certFile": sptsm_bench.pem(),
}
_NAME_OF_FILE = {"elfFile": "elfFilename", "scriptFile": "scriptFilename", "certFile": "certFilename"}
_COLLECTIONS = {
    "elfId": ("/executable-load-files", "elfFile"),
    "personalizationScriptId": ("/personalization-scripts", "scriptFile"),
    "certificateId": ("/certificates", "certFile"),
}


@dataclass(frozen=True, slots=True)
class Stage:
    """Real documents for drawn requests."""

    client: httpx.Client
    scenes: tuple[Ids, ...]

    @classmethod
    def build(cls, url: str, token: str) -> "Stage":
        """Make the scenes over HTTP; one is published."""
        client = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=60)
        stage = cls(client, ())
        return cls(client, (stage._scene(published=False), stage._scene(published=True)))

    def ids(self, drawn: Json, label: str) -> Json:
        """Return path parameters with most drawn ids replaced by those of one scene.

        An id of the server's own, out of an earlier answer, stays. What a request would take away from a
        scene, or fix for good, is made anew for it, so that the scene stays as it is.

        Args:
            drawn: the path parameters.
            label: method and path of the operation.
        """
        number = _number(drawn)
        scene = self.scenes[number // LEFT_OF % len(self.scenes)]
        stays = number % LEFT_OF == 0 or any(self._is_ours(value) for value in drawn.values())
        chosen = drawn if stays else {name: scene.get(name, value) for name, value in drawn.items()}
        *_, last = chosen
        if (label.startswith("DELETE") or label.endswith("/publish")) and self._keeps(chosen, last):
            return chosen | {last: self.fresh(last, chosen)}
        return chosen

    def body(self, drawn: object, label: str, service_id: object) -> object:
        """Return a body with most drawn references replaced by those of the scene with this service.

        Args:
            drawn: the body.
            label: method and path of the operation.
            service_id: of the path, None where it has none.
        """
        if _number(drawn) % LEFT_OF == 0:
            return drawn
        scene = next((one for one in self.scenes if one["serviceId"] == service_id), self.scenes[0])
        if label in _LINKS:
            return _LINKS[label](scene) if drawn else drawn
        return _replaced(drawn, scene)

    def files(self, drawn: object) -> object:
        """Return a form with every other drawn file replaced by a real one."""
        if not isinstance(drawn, dict) or _number(drawn) % 2:
            return drawn
        return {name: Binary(FILES[name]) if name in FILES else value for name, value in drawn.items()}

    def fresh(self, name: str, among: Json) -> str:
        """Return the id of a new document that nothing refers to."""
        if name in _COLLECTIONS:
            return self._uploaded(name, FILES[_COLLECTIONS[name][1]])
        service = f"/services/{among.get('serviceId')}"
        made: dict[str, Callable[[], str]] = {
            "serviceId": lambda: self._made("/services", {"name": "short-lived"}),
            "flavorId": lambda: self._made(f"{service}/flavors", {"name": "short-lived"}),
            "tag": lambda: self._version(service),
            "applicationConfigId": lambda: self._made("/application-configs", {"instanceAid": "A000000001"}),
            "sposConfigId": lambda: self._made(
                "/spos-configs", self._online(self.scenes[0]["certificateId"])
            ),
        }
        return made[name]()

    def _is_ours(self, value: object) -> bool:
        return (
            str(value)[:8] == self.scenes[0]["serviceId"][:8]
        )  # the beginning of a UUID version 7 is the time

    def _keeps(self, chosen: Json, last: str) -> bool:
        """Tell whether the last of these ids is one of a scene that can have another one."""
        services = {one["serviceId"] for one in self.scenes}
        if last != "serviceId" and chosen.get("serviceId", self.scenes[0]["serviceId"]) not in services:
            return False
        return any(one[last] == chosen[last] for one in self.scenes)

    def _scene(self, *, published: bool) -> Ids:
        certificate = self._uploaded("certificateId", FILES["certFile"])
        script = self._uploaded("personalizationScriptId", FILES["scriptFile"])
        elf = self._uploaded("elfId", FILES["elfFile"])
        module = self.client.get(f"/executable-load-files/{elf}/executable-modules").json()[0]["id"]
        spos = self._made("/spos-configs", self._online(certificate))
        service = self._made("/services", {"name": "scene", "sposConfigId": spos})
        personalization = {"personalizationScriptId": script, "certificateId": certificate}
        aid = f"F04F54534D0101{int(published):02X}"
        config = self._made(
            "/application-configs", {"instanceAid": aid, "personalizationConfig": personalization}
        )
        link = {"executableModuleId": module, "applicationConfigId": config}
        draft = {"executableLoadFileIds": [elf], "applicationInstantiationConfigs": [link]}
        flavor = self._made(f"/services/{service}/flavors", draft)
        profiles = self.client.get("/secure-component-profiles").json()
        profile = next(one["id"] for one in profiles if one["name"] == "scp03-i70")
        version = {"tag": TAG, "allowedDeployments": {flavor: [profile]}}
        assert self.client.post(f"/services/{service}/versions", json=version).status_code == 200
        if published:
            assert self.client.post(f"/services/{service}/flavors/{flavor}/publish").status_code == 200
        return {
            "scpId": profile,
            "serviceId": service,
            "flavorId": flavor,
            "tag": TAG,
            "elfId": elf,
            "emId": module,
            "applicationConfigId": config,
            "personalizationScriptId": script,
            "certificateId": certificate,
            "sposConfigId": spos,
        }

    def _uploaded(self, name: str, data: bytes) -> str:
        path, part = _COLLECTIONS[name]
        files = {part: (part, data, "application/octet-stream")}
        answer = self.client.post(path, data={_NAME_OF_FILE[part]: part}, files=files)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    def _made(self, path: str, body: Json) -> str:
        answer = self.client.post(path, json=body)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    def _version(self, service: str) -> str:
        taken = {one["tag"] for one in self.client.get(f"{service}/versions").json()}
        tag = next(tag for tag in (f"9.{n // 1000}.{n % 1000}" for n in range(1_000_000)) if tag not in taken)
        body = {"tag": tag, "allowedDeployments": {}}
        assert self.client.post(f"{service}/versions", json=body).status_code == 200
        return tag

    def _online(self, certificate: str) -> Json:
        return {"url": "https://sp.example/spos", "certificateId": certificate}


def _number(drawn: object) -> int:
    return zlib.crc32(repr(drawn).encode("utf-8", "replace"))


def _replaced(drawn: object, scene: Ids) -> object:
    if not isinstance(drawn, dict):
        return drawn
    return {name: _value(name, value, scene) for name, value in drawn.items()}


def _value(name: str, value: object, scene: Ids) -> object:
    if name == "executableLoadFileIds" and isinstance(value, list):
        return [scene["elfId"]][: len(value)]
    if name == "applicationInstantiationConfigs" and isinstance(value, list):
        return [_replaced(one, scene) for one in value[:1]]
    if name == "allowedDeployments" and isinstance(value, dict):
        return {scene["flavorId"]: [scene["scpId"]]} if value else {}
    if name == "personalizationConfig":
        return _replaced(value, scene)
    name = "emId" if name == "executableModuleId" else name
    return scene[name] if name in scene and name != "tag" and isinstance(value, str) else value


_FLAVOR = "/services/{serviceId}/flavors/{flavorId}"
_VERSION = "/services/{serviceId}/versions/{tag}"
_LINKS: dict[str, Callable[[Ids], object]] = {
    f"POST {_FLAVOR}/executable-load-files": lambda s: [s["elfId"]],
    f"PUT {_FLAVOR}/executable-load-files": lambda s: [s["elfId"]],
    f"POST {_VERSION}/flavors": lambda s: {s["flavorId"]: [s["scpId"]]},
    f"PUT {_VERSION}/flavors": lambda s: [s["flavorId"]],
    f"POST {_VERSION}/secure-component-profiles": lambda s: {s["scpId"]: s["flavorId"]},
    f"PUT {_VERSION}/secure-component-profiles": lambda s: [s["scpId"]],
}

"""A card's content for people and tests, read from the saved image; no key values."""

from opentsm.card.crypto.kcv import kcv_aes, kcv_des
from opentsm.vse import memory
from opentsm.vse.privileges import Privilege
from opentsm.vse.state import SYMMETRIC_AES, SYMMETRIC_DES, CardImage, DomainData, Instance, Key, LoadFile


def describe(image: CardImage, memory_bytes: int) -> dict[str, object]:
    """Return registry, keys (as check values) and memory as a JSON value.

    Args:
        image: the card's saved content.
        memory_bytes: what the profile gives it.
    """
    taken = memory.used(image)
    return {
        "state": f"{image.isd.state:02X}",
        "memory": {"total": memory_bytes, "used": taken, "free": memory_bytes - taken},
        "instances": [_instance(entry) for entry in image.instances],
        "load_files": [_load_file(entry) for entry in image.load_files],
    }


def _instance(entry: Instance) -> dict[str, object]:
    described: dict[str, object] = {
        "aid": _hex(entry.aid),
        "state": f"{entry.state:02X}",
        "privileges": f"{entry.privileges:06X}",
        "privilege_names": [p.name for p in Privilege if entry.holds(p)],
        "sd": _hex(entry.sd),
        "load_file": _hex(entry.load_file),
        "module": _hex(entry.module),
        "bytes": memory.instance_cost(entry),
    }
    if entry.unique_services:
        described["services"] = [_hex(name) for name in entry.unique_services]
    if entry.domain is not None:
        described["domain"] = _domain(entry.domain)
    return described


def _domain(data: DomainData) -> dict[str, object]:
    return {
        "keys": [_key(key) for key in data.keys],
        "sequence": {f"{kvn:02X}": value for kvn, value in data.sequence.items()},
        "failures": {f"{kvn:02X}": value for kvn, value in data.failures.items()},
        "objects": {f"{tag:02X}": _hex(value) for tag, value in data.objects.items()},
    }


def _key(key: Key) -> dict[str, object]:
    described: dict[str, object] = {
        "kid": f"{key.kid:02X}",
        "kvn": f"{key.kvn:02X}",
        "type": f"{key.type:02X}",
        "bytes": len(key.value),
    }
    checks = {SYMMETRIC_AES: kcv_aes, SYMMETRIC_DES: kcv_des}
    if key.type in checks:
        described["kcv"] = _hex(checks[key.type](key.value))
    return described


def _load_file(entry: LoadFile) -> dict[str, object]:
    return {
        "aid": _hex(entry.aid),
        "version": ".".join(map(str, entry.version)),
        "sd": _hex(entry.sd),
        "modules": [_hex(module) for module in entry.modules],
        "bytes": memory.load_file_cost(entry),
        "sha256": _hex(entry.hash),
    }


def _hex(value: bytes) -> str:
    return value.hex().upper()

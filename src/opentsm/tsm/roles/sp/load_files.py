"""An uploaded load file becomes documents: the ELF (type CAP), its modules, and the block to be loaded.

BSI TR-03165 §4.1.4.8 to 4.1.4.11; the file itself is read by `opentsm.card.gp.cap`.
"""

import hashlib
from dataclasses import dataclass

from opentsm.card.errors import CapError
from opentsm.card.gp import cap
from opentsm.card.gp.packages import platform
from opentsm.tsm.roles.sp import errors
from opentsm.tsm.roles.sp.forms import Document

_GLOBALPLATFORM_API = "A00000015100"
_SUPPORTED = "CAP (zip) or raw load file"
_VERSION_PARTS = 3


@dataclass(frozen=True, slots=True)
class ReadLoadFile:
    """What a load file says about itself, and what is loaded of it.

    `block` is the load-file data block with the Descriptor where the file has one: the Directory counts it,
    cards that need no Descriptor skip it, and the DAP or hash that a vendor supplies covers what is in the
    vendor's file.
    """

    attributes: Document
    block: bytes
    modules: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """The name of the block in the store."""
        return hashlib.sha256(self.block).hexdigest()


def read(data: bytes) -> ReadLoadFile:
    """Read an upload.

    Raises:
        CatalogueError: 1013 with what is wrong with the file, or 1014.
    """
    if len(data) > cap.MAX_FILE_BYTES:
        raise errors.file_too_large(len(data), cap.MAX_FILE_BYTES)
    try:
        found = cap.read_load_file(data)
    except CapError as error:
        raise errors.invalid_file_type(_SUPPORTED, f"The load file is refused: {error}.") from error
    attributes: Document = {
        "aid": str(found.package_aid),
        "type": "CAP",
        "packageName": (found.package_name or "")[:255],
        "importedPackages": [str(one.aid) for one in found.imports],
        "packageVersion": str(found.version),
        "technicalRequirements": _requirements(found),
    }
    return ReadLoadFile(
        attributes=attributes,
        block=found.load_file_data_block(),
        modules=tuple(str(applet) for applet in found.applets),
    )


def _requirements(found: cap.LoadFile) -> Document:
    """Return the platform that the imports need; what cannot be told is left out."""
    requirements: Document = {}
    java_card = platform(found.imports)
    if java_card is not None:
        requirements["javaCardVersion"] = _three_parts(java_card.rpartition(" ")[2])
    for one in found.imports:
        if str(one.aid) == _GLOBALPLATFORM_API:
            requirements["gpApiVersion"] = str(one.version)
    return requirements


def _three_parts(version: str) -> str:
    parts = version.split(".")
    return ".".join(parts + ["0"] * (_VERSION_PARTS - len(parts)))

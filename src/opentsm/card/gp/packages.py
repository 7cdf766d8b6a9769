"""Names of well-known Java Card packages, and the platform that a set of imports needs.

Source: the export files of the Java Card development kits 2.1.1 to 3.1; GlobalPlatform API 1.0 to 1.6.
"""

from __future__ import annotations

from collections.abc import Iterable

from opentsm.card.codec.aid import Aid
from opentsm.card.gp.cap_components import Import, Version

_NAMES = {
    "A0000000620001": "java.lang",
    "A0000000620002": "java.io",
    "A0000000620003": "java.rmi",
    "A0000000620101": "javacard.framework",
    "A000000062010101": "javacard.framework.service",
    "A0000000620102": "javacard.security",
    "A0000000620201": "javacardx.crypto",
    "A0000000620209": "javacardx.apdu",
    "A00000015100": "org.globalplatform",
}

FRAMEWORK = "A0000000620101"
_PLATFORMS = {
    Version(1, 0): "Java Card 2.1.1",
    Version(1, 1): "Java Card 2.2",
    Version(1, 2): "Java Card 2.2.1",
    Version(1, 3): "Java Card 2.2.2",
    Version(1, 4): "Java Card 3.0.1",
    Version(1, 5): "Java Card 3.0.4",
    Version(1, 6): "Java Card 3.0.5",
    Version(1, 8): "Java Card 3.1",
}


def package_name(aid: Aid) -> str | None:
    """Return the name of a well-known package."""
    return _NAMES.get(str(aid))


def platform(imports: Iterable[Import]) -> str | None:
    """Return the lowest known Java Card platform that has the imported javacard.framework; None: none has it.

    A card links an import of the same major and of at most its own minor version (JCVM, package versions).
    """
    for one in imports:
        if str(one.aid) == FRAMEWORK:
            wanted = one.version
            fitting = [v for v in _PLATFORMS if v.major == wanted.major and v.minor >= wanted.minor]
            return _PLATFORMS[min(fitting, key=lambda v: v.minor)] if fitting else None
    return None

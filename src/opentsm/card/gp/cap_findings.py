"""What the constant pool of a load file tells cheaply: which imported packages its code really uses.

Specification: Java Card Virtual Machine Specification 2.2.2, §6.7 (Constant Pool Component).
"""

from __future__ import annotations

from opentsm.card.errors import CapError
from opentsm.card.gp.cap import LoadFile
from opentsm.card.gp.cap_components import ComponentTag

_ENTRY_BYTES = 4
_EXTERNAL = 0x80
_KNOWN_TAGS = range(1, 7)


def used_packages(load_file: LoadFile) -> frozenset[int]:
    """Return the indexes of the imported packages that the constant pool refers to.

    Raises:
        CapError: the component is cut off, or an entry has an unknown tag.
    """
    body = next(one.body for one in load_file.components if one.tag is ComponentTag.ConstantPool)
    count, entries = int.from_bytes(body[:2], "big"), body[2:]
    if len(entries) != _ENTRY_BYTES * count:
        raise CapError(f"the ConstantPool component says {count} entries and has {len(entries)} bytes")
    used = set()
    for at in range(0, len(entries), _ENTRY_BYTES):
        if entries[at] not in _KNOWN_TAGS:
            raise CapError(f"an entry of the ConstantPool component has the tag {entries[at]:02X}")
        if entries[at + 1] & _EXTERNAL:
            used.add(entries[at + 1] & ~_EXTERNAL)
    return frozenset(used)

"""How key bytes could stand in a file, a dump or a message."""

import base64
import itertools


def forms(key: bytes) -> list[bytes]:
    """Return a key raw, in hex and in base64 at every alignment (there without its ends)."""
    found = [key, key.hex().encode(), key.hex().upper().encode()]
    for shift, encode in itertools.product(range(3), (base64.b64encode, base64.urlsafe_b64encode)):
        found.append(encode(bytes(shift) + key)[4:-4])
    return found

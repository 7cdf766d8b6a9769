"""How values stand in messages: as JSON writes them, since callers speak JSON and not Python."""

import json


def quoted(value: object) -> str:
    """Return a value as it stands in a message: `"text"`, `true`, `null`, `[1, 2]`.

    Control characters are escaped, so that a value cannot break a line of a log.
    """
    return json.dumps(value, ensure_ascii=False, default=str)

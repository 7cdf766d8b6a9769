"""Version patterns of TR-03165 §4.2.5.7: `a.b.c`, `a.b.x`, `a.x.x`, `x.x.x`, and nothing else."""

import re
from dataclasses import dataclass

from opentsm.tsm.domain.device_call import InvalidArgumentError

_PATTERN = re.compile(r"(\d{1,3}|[xX])\.(\d{1,3}|[xX])\.(\d{1,3}|[xX])", re.ASCII)


def version_number(tag: str) -> tuple[int, ...]:
    """Return a version tag as numbers, to be compared."""
    return tuple(int(part) for part in tag.split("."))


@dataclass(frozen=True, slots=True)
class VersionPattern:
    """A version, or all versions that begin with the `fixed` numbers; `tag` is the text of a version."""

    fixed: tuple[int, ...]
    tag: str | None = None

    @classmethod
    def parse(cls, text: str) -> "VersionPattern":
        """Read a pattern; `x` may be upper or lower case.

        Raises:
            InvalidArgumentError: it is none of the four forms.
        """
        match = _PATTERN.fullmatch(text)
        if match is None:
            raise InvalidArgumentError("version has an invalid format.", advice=_ADVICE, field="/version")
        parts = [None if part in "xX" else int(part) for part in match.groups()]
        fixed = [part for part in parts if part is not None]
        if parts[: len(fixed)] != fixed:
            raise InvalidArgumentError(
                "version uses an unsupported filter pattern.", advice=_ADVICE, field="/version"
            )
        return cls(tuple(fixed), tag=text if len(fixed) == len(parts) else None)

    def matches(self, tag: str) -> bool:
        """Say whether a version tag is meant."""
        return version_number(tag)[: len(self.fixed)] == self.fixed


_ADVICE = "Write 1.3.0, 1.3.x, 1.x.x or x.x.x."

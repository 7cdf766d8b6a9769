"""A remark with remarks below it: the form in which things are explained."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Note:
    """What something is called, what it says in words, its bytes, and its parts."""

    name: str
    text: str = ""
    data: bytes = b""
    parts: tuple[Note, ...] = ()

    def lines(self, depth: int = 0) -> tuple[str, ...]:
        """Return the note as indented lines."""
        said = " ".join(word for word in (self.data.hex().upper(), self.text) if word)
        own = "  " * depth + self.name + (f": {said}" if said else "")
        return (own, *(line for part in self.parts for line in part.lines(depth + 1)))

    def document(self) -> dict[str, object]:
        """Return the note as a JSON value without empty members."""
        members: dict[str, object] = {"name": self.name}
        if self.text:
            members["text"] = self.text
        if self.data:
            members["data"] = self.data.hex().upper()
        if self.parts:
            members["parts"] = [part.document() for part in self.parts]
        return members

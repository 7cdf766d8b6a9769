"""What the end user of a service is asked for, and told at the end."""

from collections.abc import Mapping

from opentsm.tsm.kernel.documents import Record


class FormChoice(Record, frozen=True, kw_only=True):
    """A value that a field may have; `title` by language tag, empty: show the value."""

    value: str
    title: Mapping[str, str]


class FormField(Record, frozen=True, kw_only=True):
    """One field: what it must be, and its words by language tag.

    `min` and `max` bound the length (hex, text: bytes; digits, ascii: characters) or an integer's value.
    """

    name: str
    type: str
    min: int
    max: int
    secret: bool
    title: Mapping[str, str]
    hint: Mapping[str, str]
    characters: str
    choices: tuple[FormChoice, ...]


class UserForm(Record, frozen=True, kw_only=True):
    """The form of a service's version on one kind of card.

    `complete`: nothing is needed beside what the end user gives. `messages` by outcome (success, failure)
    and language tag.
    """

    service_id: str
    version: str
    flavor_id: str
    fields: tuple[FormField, ...]
    messages: Mapping[str, Mapping[str, str]]
    complete: bool

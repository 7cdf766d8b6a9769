"""What the end user is asked for before a service gets on a card, and what it is told afterwards.

It comes from the recipes of the applications that a card would get: a service whose recipes ask the end user
for all that they need works without any system of its provider.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from opentsm.tsm.domain.card_content import ServiceDescription
from opentsm.tsm.domain.user_form import FormChoice, FormField, UserForm
from opentsm.tsm.roles.sp.recipes import Field, Recipe


def form_of(description: ServiceDescription, recipes: Sequence[Recipe]) -> UserForm:
    """Return the form of a description; fields of the same name are one, bounded by all of them."""
    fields = _fields(recipes)
    messages: dict[str, Mapping[str, str]] = {}
    for recipe in recipes:
        messages = {**recipe.messages, **messages}
    return UserForm(
        service_id=description.service_id,
        version=description.version_tag,
        flavor_id=description.flavor_id,
        fields=tuple(_shown(field) for field in fields.values() if field.user),
        messages=messages,
        complete=not missing_fields(recipes),
    )


def missing_fields(recipes: Sequence[Recipe]) -> tuple[str, ...]:
    """Return the names of the data that neither the end user gives nor the TSM generates."""
    fields = _fields(recipes).values()
    return tuple(field.name for field in fields if not field.user and field.generated is None)


def _fields(recipes: Sequence[Recipe]) -> dict[str, Field]:
    fields: dict[str, Field] = {}
    for field in (field for recipe in recipes for field in recipe.fields.values()):
        fields[field.name] = _both(fields[field.name], field) if field.name in fields else field
    return fields


def _both(one: Field, other: Field) -> Field:
    asked, second = (one, other) if one.user else (other, one)
    return replace(
        asked,
        low=max(one.low, other.low),
        high=min(one.high, other.high),
        secret=one.secret or other.secret,
        characters=asked.characters or second.characters,
        choices=asked.choices or second.choices,
    )


def _shown(field: Field) -> FormField:
    return FormField(
        name=field.name,
        type=field.type.value,
        min=field.low,
        max=field.high,
        secret=field.secret,
        title=field.title,
        hint=field.hint,
        characters=field.characters,
        choices=tuple(FormChoice(value=one.value, title=one.title) for one in field.choices),
    )

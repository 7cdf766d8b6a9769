"""What the end user of a service is asked for: for an app, an SDK, or a page of an operator to show."""

from typing import Annotated

from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter, SkipValidation

from opentsm.api.authentication import Caller
from opentsm.api.sptsm.exchange import SpContainer
from opentsm.api.v1 import messages as m
from opentsm.tsm.domain.tenant import TenantKind
from opentsm.tsm.kernel.errors import ForbiddenError

_Container = NamedDependency[SkipValidation[SpContainer]]
_Profile = Annotated[str, QueryParameter(description="name of the card's profile, which chooses the flavor")]
_Version = Annotated[str | None, QueryParameter(description="version tag; the newest for the profile")]


class ChoiceAnswer(m.Answer, frozen=True, kw_only=True):
    """A value that a field may have, with its title by language tag."""

    value: str
    title: dict[str, str]


class FieldAnswer(m.Answer, frozen=True, kw_only=True):
    """A field of a form."""

    name: str
    type: str
    min: int
    max: int
    secret: bool
    title: dict[str, str]
    hint: dict[str, str]
    characters: str
    choices: list[ChoiceAnswer]


class FormAnswer(m.Answer, frozen=True, kw_only=True):
    """A form: its fields, and the messages for success and failure by language tag."""

    service_id: str
    version: str
    flavor_id: str
    fields: list[FieldAnswer]
    messages: dict[str, dict[str, str]]
    complete: bool


@get("/services/{service_id:str}/form", tags=["services"], summary="Show a service's form (provider)")
async def show_form(
    principal: Caller,
    container: _Container,
    service_id: FromPath[str],
    profile: _Profile,
    version: _Version = None,
) -> FormAnswer:
    """Return the fields that the end user gives as `data` of an instance, and what it is told at the end."""
    if principal.kind is not TenantKind.SERVICE_PROVIDER or principal.device_id is not None:
        raise ForbiddenError("This needs the token of a service provider.")
    found = await container.catalogue.form(principal.tenant_id, service_id, version, profile)
    fields = [
        FieldAnswer(
            name=field.name,
            type=field.type,
            min=field.min,
            max=field.max,
            secret=field.secret,
            title=dict(field.title),
            hint=dict(field.hint),
            characters=field.characters,
            choices=[ChoiceAnswer(value=one.value, title=dict(one.title)) for one in field.choices],
        )
        for field in found.fields
    ]
    return FormAnswer(
        service_id=found.service_id,
        version=found.version,
        flavor_id=found.flavor_id,
        fields=fields,
        messages={outcome: dict(words) for outcome, words in found.messages.items()},
        complete=found.complete,
    )

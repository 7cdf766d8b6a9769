"""What the end user is asked for, for the app to show: a service whose recipes ask for all needs no more."""

from typing import Annotated

from litestar import get
from litestar.params import FromPath, QueryParameter

from opentsm.api.container import Services
from opentsm.api.device_api import messages as m
from opentsm.api.device_api.door import App

Version = Annotated[
    str, QueryParameter(name="version", description="1.3.0, 1.3.x, 1.x.x or x.x.x", max_length=20)
]


@get(
    "/services/{service_id:str}/form",
    operation_id="getServiceForm",
    tags=["device API"],
    opt={"version_field": "version"},
    summary="Show what the end user is asked for (not in TR-03165)",
)
async def get_service_form(
    app: App, container: Services, service_id: FromPath[str], version: Version
) -> m.ServiceForm:
    """Return the fields whose values are the `personalizationData`, and the words for the end."""
    found = await container.device_calls.user_form(app, service_id, version)
    return m.ServiceForm(
        service_id=found.service_id,
        version=found.version,
        fields=[
            m.FormField(
                name=field.name,
                type=field.type,
                min=field.min,
                max=field.max,
                secret=field.secret,
                title=dict(field.title),
                hint=dict(field.hint),
                characters=field.characters,
                choices=[m.FormChoice(value=one.value, title=dict(one.title)) for one in field.choices],
            )
            for field in found.fields
        ],
        messages={outcome: dict(words) for outcome, words in found.messages.items()},
        complete=found.complete,
    )

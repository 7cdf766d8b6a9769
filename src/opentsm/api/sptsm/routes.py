"""The routes under /sptsm/1.0.4/, with tokens and errors of their own as TR-03165 has them."""

from litestar import Router
from litestar.di import Provide

from opentsm.api.sptsm import account, resources, services
from opentsm.api.sptsm.exchange import MAX_BODY_BYTES, SpContainer, general_error, provide_provider

PATH = "/sptsm/1.0.4"


def router(container: SpContainer) -> Router:
    """Return the routes.

    The published OpenAPI document describes them; ours leaves them out.
    """
    return Router(
        PATH,
        route_handlers=[
            account.create_access_token,
            account.get_account_information,
            account.list_secure_component_profiles,
            account.get_secure_component_profile,
            *services.HANDLERS,
            *resources.HANDLERS,
        ],
        dependencies={
            "catalogue": Provide(lambda: container.catalogue, sync_to_thread=False),
            "provider": Provide(provide_provider),
        },
        exception_handlers={Exception: general_error},
        request_max_body_size=MAX_BODY_BYTES,
        include_in_schema=False,
    )

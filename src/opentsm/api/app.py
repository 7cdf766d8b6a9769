"""The HTTP application: routes, and what surrounds all of them."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

from litestar import Litestar, Request, Response, Router
from litestar.datastructures import State
from litestar.di import Provide

from opentsm.api import health, openapi, peers, seram
from opentsm.api.attempts import FailedProofs
from opentsm.api.authentication import BearerAuthentication, provide_principal
from opentsm.api.bodies import DEVICE_BYTES, PARTY_BYTES
from opentsm.api.container import ApiContainer, provide_container
from opentsm.api.device_api import door, processes, user_forms
from opentsm.api.device_api import instances as instances_of_apps
from opentsm.api.docs import docs_routes
from opentsm.api.drain import Drain
from opentsm.api.idempotency import Idempotency
from opentsm.api.json_request import JsonRequest
from opentsm.api.messaging import routes as messaging
from opentsm.api.metrics import Metrics
from opentsm.api.observation import Observation
from opentsm.api.problems import problem_response
from opentsm.api.texts import WholeTexts
from opentsm.api.v1 import (
    access_tokens,
    application_keys,
    approvals,
    arrangements,
    attestation_keys,
    campaigns,
    card_authorities,
    devices,
    domain_keys,
    exactness,
    forms,
    imports,
    instances,
    master_keys,
    operations,
    parties,
    peerings,
    prepared_data,
    registry,
    releases,
    secure_elements,
    self_service,
    space,
    tokens,
    webhooks,
)

DEVICE_API: Final = "/v1/device-api"


def create_app(container: ApiContainer, *, sptsm: bool = True, metrics: Metrics | None = None) -> Litestar:
    """Make the application.

    Args:
        container: use cases and ports; nothing of it is used before the first request.
        sptsm: whether the TR-03165 API is served too.
        metrics: the counters of the process, where others count too.
    """
    drain = Drain(container.notifier)
    metrics = metrics or Metrics()
    routers = [_v1(), messaging.router(), _device_api(), _seram(), peers.router()]
    sptsm = sptsm and find_spec(openapi.SPTSM) is not None
    if sptsm:
        routers.append(import_module(f"{openapi.SPTSM}.routes").router(container))
    app = Litestar(
        [*routers, health.healthz, health.healthz_head, health.readyz, health.show_metrics, *docs_routes()],
        dependencies={
            "container": Provide(provide_container),
            "drain": Provide(lambda: drain, sync_to_thread=False),
            "metrics": Provide(lambda: metrics, sync_to_thread=False),
            "principal": Provide(provide_principal),
        },
        exception_handlers={Exception: _problem},
        request_class=JsonRequest,
        openapi_config=openapi.config(),
        on_app_init=[openapi.unserved],
        logging_config=None,
        state=State(
            {"container": container, "drain": drain, "sptsm": sptsm, "proofs": FailedProofs()},
            deep_copy=False,
        ),
        debug=False,
    )
    app.state[exactness.STATE] = exactness.known_queries(app)
    app.asgi_handler = Observation(app.asgi_handler, world=container.world, metrics=metrics)
    return app


def _problem(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """Turn an error into a problem document, also where no route was found."""
    path = request.scope["path"]
    if path.startswith(f"{DEVICE_API}/") or path == self_service.TOKENS:
        return door.app_problem(request, error)
    if request.scope["path"].startswith(f"{messaging.PATH}/"):
        return messaging.failed(request, error)
    return problem_response(request, error)


def _v1() -> Router:
    return Router(
        "/v1",
        route_handlers=[
            parties.register_party,
            parties.list_parties,
            parties.wipe_party,
            parties.read_audit,
            peerings.show_identity,
            peerings.set_peering,
            peerings.list_peerings,
            peerings.end_peering,
            tokens.list_tokens,
            tokens.issue_token,
            access_tokens.issue_access_token,
            tokens.revoke_token,
            secure_elements.register_secure_element,
            secure_elements.import_secure_elements,
            secure_elements.list_secure_elements,
            secure_elements.show_secure_element,
            secure_elements.show_content,
            secure_elements.audit_secure_element,
            secure_elements.reinstate_secure_element,
            secure_elements.replace_key_sets,
            secure_elements.retire_secure_element,
            secure_elements.clean_up_secure_element,
            arrangements.create_arrangement,
            arrangements.list_arrangements,
            arrangements.show_arrangement,
            arrangements.change_arrangement,
            arrangements.configure_secure_element,
            arrangements.register_held_keys,
            master_keys.import_master_key,
            application_keys.import_application_key,
            attestation_keys.list_attestation_keys,
            card_authorities.list_card_authorities,
            card_authorities.put_card_authority,
            card_authorities.remove_card_authority,
            attestation_keys.rotate_attestation_key,
            domain_keys.import_domain_master_key,
            domain_keys.import_transport_key,
            domain_keys.deposit_key_set,
            domain_keys.list_key_sets,
            domain_keys.show_domain_keys,
            devices.offer_enrolment,
            devices.enrol_device,
            devices.list_devices,
            devices.show_device,
            devices.revoke_device,
            devices.issue_device_token,
            devices.open_device_session,
            forms.show_form,
            *self_service.HANDLERS,
            *space.HANDLERS,
            instances.deploy,
            instances.list_instances,
            instances.show_instance,
            instances.top_up,
            instances.update,
            instances.personalize,
            instances.change_instance,
            prepared_data.import_prepared_data,
            prepared_data.list_prepared_data,
            prepared_data.remove_prepared_data,
            operations.list_operations,
            operations.show_operation,
            operations.follow_operation,
            operations.cancel_operation,
            *registry.HANDLERS,
            *imports.HANDLERS,
            *webhooks.HANDLERS,
            *campaigns.HANDLERS,
            *approvals.HANDLERS,
            *releases.HANDLERS,
        ],
        middleware=[BearerAuthentication, WholeTexts, Idempotency, exactness.Exactness],
        request_max_body_size=PARTY_BYTES,
        security=[{openapi.BEARER: []}],
    )


def _device_api() -> Router:
    return Router(
        DEVICE_API,
        route_handlers=[
            instances_of_apps.create_service_instance,
            instances_of_apps.get_service_instances,
            instances_of_apps.deploy_service,
            instances_of_apps.update_service,
            instances_of_apps.suspend_or_resume_service,
            instances_of_apps.terminate_service,
            instances_of_apps.check_service_deployment_available,
            instances_of_apps.check_service_update_available,
            user_forms.get_service_form,
            processes.show_process,
            processes.follow_process,
            processes.cancel_process,
        ],
        dependencies={"app": Provide(door.provide_app)},
        opt={"recall": instances_of_apps.recalled},
        middleware=[door.AppAuthentication, WholeTexts, Idempotency, exactness.Exactness],
        request_max_body_size=PARTY_BYTES,
        security=[{openapi.BEARER: [], openapi.DEVICE: []}],
    )


def _seram() -> Router:
    return Router(
        "/gp/seram",
        route_handlers=[seram.handshake, seram.remote_management],
        middleware=[BearerAuthentication, WholeTexts],
        request_max_body_size=DEVICE_BYTES,
        security=[{openapi.BEARER: []}],
    )

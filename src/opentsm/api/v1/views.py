"""What the domain's records look like from outside. Nothing sealed, no key and no personalisation data."""

from collections.abc import Collection
from datetime import datetime

from opentsm.api.v1 import messages as m
from opentsm.card.gp import lifecycle
from opentsm.card.gp.privileges import Privilege
from opentsm.tsm.domain.audit import AuditEntry
from opentsm.tsm.domain.card_content import Access, CardObject, Claim, ObjectKind, ObservedContent
from opentsm.tsm.domain.device import Device
from opentsm.tsm.domain.operation import Failure, Operation
from opentsm.tsm.domain.secure_element import SecureElement
from opentsm.tsm.domain.service import ServiceInstance
from opentsm.tsm.domain.tenant import AccessToken, Principal, Tenant
from opentsm.tsm.roles.hub.mandate import may_see

_STATE_NAMES = {
    ObjectKind.ISSUER_SECURITY_DOMAIN: lifecycle.card_state_name,
    ObjectKind.SECURITY_DOMAIN: lifecycle.security_domain_state_name,
    ObjectKind.APPLICATION: lifecycle.application_state_name,
    ObjectKind.LOAD_FILE: lifecycle.load_file_state_name,
}


def party(tenant: Tenant) -> m.Party:
    """Show a party."""
    return m.Party(
        id=tenant.id,
        kind=tenant.kind.value,
        name=tenant.name,
        sandbox=tenant.sandbox,
        created_at=tenant.created_at,
    )


def registered_party(tenant: Tenant, token: str) -> m.RegisteredParty:
    """Show a party with its token, the only time."""
    return m.RegisteredParty(
        id=tenant.id,
        kind=tenant.kind.value,
        name=tenant.name,
        sandbox=tenant.sandbox,
        created_at=tenant.created_at,
        token=token,
    )


def device(found: Device) -> m.DeviceAnswer:
    """Show a device."""
    return m.DeviceAnswer(
        id=found.id,
        name=found.name,
        se_id=found.se_id,
        created_at=found.created_at,
        revoked_at=found.revoked_at,
    )


def token_id(found: AccessToken) -> str:
    """Return the name of a token: its digest, from which nobody finds the token."""
    return found.digest.hex()


def token(found: AccessToken) -> m.TokenAnswer:
    """Show that there is a token, and whose."""
    return m.TokenAnswer(
        id=token_id(found),
        kind=found.kind.value,
        subject=found.subject,
        expires_at=found.expires_at,
        services=list(found.services),
        person=found.person or None,
    )


def secure_element(principal: Principal, se: SecureElement) -> m.SecureElementAnswer:
    """Show a secure element, whole only to its issuer and the operator."""
    if not may_see(principal, se):
        return m.SecureElementAnswer(id=se.id, profile=se.profile, state=se.state.value)
    return m.SecureElementAnswer(
        id=se.id,
        profile=se.profile,
        state=se.state.value,
        identifiers=[m.Identifier(type=name.type.value, value=name.value) for name in se.identifiers],
        device_id=se.device_id,
        arrangement_id=se.arrangement_id,
        content_url=f"/v1/secure-elements/{se.id}/content",
    )


def card_content(content: ObservedContent, claims: tuple[Claim, ...]) -> m.CardContentAnswer:
    """Show what is known to be on a card."""
    owned = {claim.aid for claim in claims}
    return m.CardContentAnswer(
        objects=[_card_object(entry, entry.aid in owned, content) for entry in content.objects],
        access_rules=(
            None
            if content.access is None
            else [_access_rule(one, content.own_access) for one in content.access]
        ),
        free_memory=content.free_memory,
        fresh=content.fresh and not content.readers,
    )


def _access_rule(rule: Access, own: Collection[str]) -> m.AccessRuleAnswer:
    return m.AccessRuleAnswer(
        aid=rule.aid.hex().upper(),
        device_app=rule.device.hex().upper(),
        apdu=rule.apdu,
        nfc=rule.nfc,
        limited=rule.limited,
        owned=rule.rule.hex().upper() in own,
    )


def _card_object(entry: CardObject, owned: bool, content: ObservedContent) -> m.CardObjectAnswer:
    name = entry.aid.hex().upper()
    contactless, grade = content.contactless.get(name), content.grades.get(name)
    return m.CardObjectAnswer(
        aid=str(entry.aid),
        kind=entry.kind.value,
        state=entry.state,
        state_name=_STATE_NAMES[entry.kind](entry.state),
        privileges=list(Privilege(entry.privileges).names),
        load_file=None if entry.load_file is None else str(entry.load_file),
        security_domain=None if entry.security_domain is None else str(entry.security_domain),
        owned=owned,
        handover=None if grade is None else grade.value,
        contactless=contactless,
    )


def instance(found: ServiceInstance) -> m.InstanceAnswer:
    """Show a service instance."""
    description = found.description
    return m.InstanceAnswer(
        id=found.id,
        state=found.state.name,
        state_code=found.state.value,
        end_reason=None if found.end_reason is None else found.end_reason.value,
        se_id=found.se_id,
        service_id=description.service_id,
        version=description.version_tag,
        flavor_id=description.flavor_id,
        sd_aid=str(description.sd_aid),
        handover=None if found.handover is None else found.handover.value,
        applications=[
            m.ApplicationAnswer(
                instance_aid=str(app.instance_aid),
                load_file=str(app.load_file),
                module=str(app.module),
                make_selectable=app.make_selectable,
                personalization=app.personalization,
            )
            for app in description.applications
        ],
        kept_answers=[
            m.KeptAnswer(
                instance_aid=str(one.application), tag=one.tag, command=one.command, response=one.response
            )
            for one in found.kept_answers
        ],
        created_at=found.created_at,
    )


def operation(found: Operation) -> m.OperationAnswer:
    """Show an operation."""
    return m.OperationAnswer(
        id=found.id,
        type=found.type.value,
        state=found.state.value,
        se_id=found.se_id,
        instance_id=found.instance_id,
        plan=list(found.plan),
        apdus=found.traffic.apdus,
        bytes=found.traffic.bytes,
        round_trips=found.traffic.round_trips,
        duration_ms=_milliseconds(found.started_at or found.created_at, found.ended_at),
        result=found.result,
        failure=None if found.failure is None else _failure(found.failure),
        created_at=found.created_at,
        started_at=found.started_at,
        ended_at=found.ended_at,
        valid_until=found.valid_until,
    )


def _failure(failure: Failure) -> m.FailureAnswer:
    return m.FailureAnswer(
        code=failure.code,
        detail=failure.detail,
        advice=failure.advice,
        status_word=failure.status_word,
        step=failure.step,
    )


def _milliseconds(begun: datetime, ended: datetime | None) -> int | None:
    return None if ended is None else round((ended - begun).total_seconds() * 1000)


def audit_cursor(entry: AuditEntry) -> str:
    """Return the cursor of an audit entry."""
    return f"{entry.shard}.{entry.number}"


def audit_entry(entry: AuditEntry) -> m.AuditEntryAnswer:
    """Show an audit entry."""
    return m.AuditEntryAnswer(
        cursor=audit_cursor(entry),
        shard=entry.shard,
        number=entry.number,
        at=entry.at,
        actor=entry.actor,
        action=entry.action,
        subject=entry.subject,
        details=entry.details,
        previous=entry.previous.hex().upper(),
        digest=entry.digest().hex().upper(),
    )

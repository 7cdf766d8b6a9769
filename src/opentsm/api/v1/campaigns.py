"""Campaigns: one change of many instances, or a reading of many secure elements."""

from datetime import timedelta
from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.types import HTTPScope

from opentsm.api.authentication import Caller
from opentsm.api.container import ApiContainer, Services
from opentsm.api.idempotency import STREAMED
from opentsm.api.json_lines import MAX_REFUSED, REFUSALS, numbered_lines, read_line, refused, refused_length
from opentsm.api.v1 import campaign_messages as cm
from opentsm.api.v1 import messages as m
from opentsm.api.v1.paging import After, Limit, Order, read_page
from opentsm.tsm.domain.campaign import Canary, MemberState, Pace, Selection, StopRule
from opentsm.tsm.domain.operation import OperationType
from opentsm.tsm.domain.tenant import Principal
from opentsm.tsm.kernel.errors import InvalidInputError, NotFoundError
from opentsm.tsm.kernel.ids import CampaignId
from opentsm.tsm.roles.hub.campaigns.desk import NewCampaign, Standing
from opentsm.tsm.roles.hub.once import Deed

_TAG: Final = ["campaigns"]
_LINE = msgspec.json.Decoder(cm.MemberLine)
_CHUNK: Final = 500
MemberStateQuery = Annotated[
    cm.MemberStateName | None, QueryParameter(name="state", description="only members in this state")
]


async def recalled(container: ApiContainer, scope: HTTPScope, deed: Deed) -> Response[Any] | None:
    """Answer a request again that was carried out and whose answer was lost."""
    made = scope["path"].endswith(("/campaigns", "/retries"))
    found = await container.campaigns.standing(scope["user"], CampaignId(deed.subject))
    return Response(view(found), status_code=201 if made else 200)


_RECALL = {"recall": recalled}


@post("/campaigns", opt=_RECALL, tags=_TAG, summary="Make a campaign")
async def create_campaign(
    principal: Caller, container: Services, data: JSONBody[cm.NewCampaignBody]
) -> Response[cm.CampaignAnswer]:
    """Make a campaign; it starts by itself when its members are known, unless `by_hand` is set."""
    return _created(await container.campaigns.create(principal, _new(data)))


@get("/campaigns", tags=_TAG, summary="List campaigns")
async def list_campaigns(
    principal: Caller, container: Services, order: Order = "asc", limit: Limit = 50, after: After = None
) -> cm.CampaignPage:
    """Return the caller's campaigns by id; the operator sees all."""
    items, following = await read_page(
        lambda page: container.campaigns.list(principal, page),
        lambda one: one.campaign.id,
        limit,
        after,
        order,
    )
    return cm.CampaignPage(items=[view(one) for one in items], next=following)


@get("/campaigns/{campaign_id:str}", tags=_TAG, summary="Show a campaign and its progress")
async def show_campaign(
    principal: Caller, container: Services, campaign_id: FromPath[str]
) -> cm.CampaignAnswer:
    """Return a campaign with its counts, its speed and when it will be done."""
    return view(await container.campaigns.standing(principal, CampaignId(campaign_id)))


@post(
    "/campaigns/{campaign_id:str}/members",
    opt=STREAMED,
    tags=_TAG,
    status_code=200,
    summary="Add members to a draft from a file",
    description="The body is one JSON document a line: instance_id, se_id or identifier. Every line has its "
    "own result; one that is a member already changes nothing. A longer body than the server's "
    "limits.import_bytes is refused (413).",
    request_max_body_size=None,
)
async def add_campaign_members(
    principal: Caller, container: Services, request: Request[Any, Any, Any], campaign_id: FromPath[str]
) -> cm.MembersReport:
    """Read the body as it comes, line by line."""
    upload = _Upload(container, principal, CampaignId(campaign_id))
    await container.campaigns.standing(principal, upload.campaign_id)
    number = 0
    limit = container.settings.limits.import_bytes
    async for number, line in numbered_lines(request, limit, "the members that they named stay"):
        if len(upload.refused) >= MAX_REFUSED:
            break
        if line is None or line.strip():
            await upload.take(number, line)
    await upload.write()
    return cm.MembersReport(lines=number, added=upload.added, refused=upload.refused)


@get("/campaigns/{campaign_id:str}/members", tags=_TAG, summary="List members of a campaign")
async def list_campaign_members(
    principal: Caller,
    container: Services,
    campaign_id: FromPath[str],
    state_: MemberStateQuery = None,
    *,
    limit: Limit = 50,
    after: After = None,
) -> cm.MemberPage:
    """Return members in their order, each with its outcome."""
    if after is not None and not (after.isascii() and after.isdigit() and len(after) < 10):
        raise InvalidInputError("after is no cursor of this list.", field="after")
    state = None if state_ is None else MemberState(state_)
    items, following = await read_page(
        lambda page: container.campaigns.members(
            principal, CampaignId(campaign_id), int(page.after or 0), page.limit, state
        ),
        lambda one: str(one.position),
        limit,
        after,
    )
    shown = [cm.MemberAnswer(**{**msgspec.structs.asdict(one), "state": one.state.value}) for one in items]
    return cm.MemberPage(items=shown, next=following)


@post(
    "/campaigns/{campaign_id:str}/retries",
    opt=_RECALL,
    tags=_TAG,
    summary="Make a new campaign of the members that failed",
)
async def retry_campaign(
    principal: Caller,
    container: Services,
    campaign_id: FromPath[str],
    data: JSONBody[cm.RetryBody | None] = None,
) -> Response[cm.CampaignAnswer]:
    """Make a campaign like the one that ended, of the members that failed in it."""
    name = None if data is None else data.name
    return _created(await container.campaigns.retry(principal, CampaignId(campaign_id), name))


@post(
    "/campaigns/{campaign_id:str}/{move:str}",
    opt=_RECALL,
    tags=_TAG,
    status_code=200,
    summary="Start, pause, resume, promote or cancel a campaign",
)
async def move_campaign(
    principal: Caller, container: Services, campaign_id: FromPath[str], move: FromPath[str]
) -> cm.CampaignAnswer:
    """Move a campaign: starts, pauses, resumptions, promotions, cancellations."""
    campaigns = container.campaigns
    moves = {
        "starts": campaigns.start,
        "pauses": campaigns.pause,
        "resumptions": campaigns.resume,
        "promotions": campaigns.promote,
        "cancellations": campaigns.cancel,
    }
    if move not in moves:
        raise NotFoundError(f"A campaign has no {move[:40]}.")
    return view(await moves[move](principal, CampaignId(campaign_id)))


HANDLERS = (
    create_campaign,
    list_campaigns,
    show_campaign,
    add_campaign_members,
    list_campaign_members,
    retry_campaign,
    move_campaign,
)


class _Upload:
    """Members of one body, written in chunks."""

    def __init__(self, container: ApiContainer, principal: Principal, campaign_id: CampaignId) -> None:
        self._campaigns = container.campaigns
        self._principal = principal
        self.campaign_id = campaign_id
        self.added = 0
        self.refused: list[cm.RefusedMember] = []
        self._lines: dict[str, int] = {}

    async def take(self, number: int, line: bytes | None) -> None:
        """Take a line; None stands for one that is too long."""
        if line is None:
            self._refuse(refused_length(number))
            return
        try:
            found = read_line(_LINE, line)
            named = [one for one in (found.instance_id, found.se_id, found.identifier) if one is not None]
            if len(named) != 1:
                raise InvalidInputError("A line names one of instance_id, se_id and identifier.")
            subject = named[0]
            if found.identifier is not None:
                subject = await self._campaigns.resolve(self._principal, self.campaign_id, subject)
        except REFUSALS as error:
            self._refuse(refused(number, error))
            return
        self._lines.setdefault(subject, number)
        if len(self._lines) >= _CHUNK:
            await self.write()

    async def write(self) -> None:
        """Write what was read."""
        lines, self._lines = self._lines, {}
        if not lines:
            return
        added, unknown = await self._campaigns.add_members(self._principal, self.campaign_id, list(lines))
        self.added += added
        for subject in unknown[: MAX_REFUSED - len(self.refused)]:
            self._refuse(refused(lines[subject], NotFoundError("It is none of the caller's.")))

    def _refuse(self, line: m.RefusedLine) -> None:
        self.refused.append(
            cm.RefusedMember(line=line.line, code=line.code, detail=line.detail, field=line.field)
        )


def _created(standing: Standing) -> Response[cm.CampaignAnswer]:
    headers = {"Location": f"/v1/campaigns/{standing.campaign.id}"}
    return Response(view(standing), status_code=201, headers=headers)


def _new(data: cm.NewCampaignBody) -> NewCampaign:
    if data.members and not data.selection.listed:
        raise InvalidInputError("members need selection.listed.", field="/selection/listed")
    if data.canary is not None and (data.canary.members is None) is (data.canary.percent is None):
        raise InvalidInputError("Canaries are so many members, or so many percent.", field="/canary")
    if data.stop is not None and data.stop.minimum > data.stop.window:
        text = "stop.minimum is more than stop.window: the rule would never stop anything."
        raise InvalidInputError(text, field="/stop/minimum")
    return NewCampaign(
        name=data.name,
        type=OperationType(data.type),
        version=data.version,
        data=data.data,
        selection=Selection(**msgspec.structs.asdict(data.selection)),
        members=tuple(data.members),
        pace=Pace() if data.pace is None else Pace(**msgspec.structs.asdict(data.pace)),
        canary=None if data.canary is None else Canary(**msgspec.structs.asdict(data.canary)),
        stop=None if data.stop is None else StopRule(**msgspec.structs.asdict(data.stop)),
        by_hand=data.by_hand,
        valid_for_s=data.valid_for_s,
        valid_until=data.valid_until,
    )


def view(standing: Standing) -> cm.CampaignAnswer:
    """Show a campaign."""
    campaign, counts, recent = standing.campaign, standing.counts, standing.recent
    left = max(0, campaign.total - counts.ended)
    speed, last = None, recent.until
    if recent.since is not None and last is not None and last > recent.since:
        speed = recent.ended / (last - recent.since).total_seconds()
    running = campaign.ended_at is None and last is not None and speed
    selection = {k: v for k, v in msgspec.structs.asdict(campaign.selection).items() if k != "failed_of"}
    return cm.CampaignAnswer(
        id=campaign.id,
        name=campaign.name,
        type=campaign.action.type.value,
        version=campaign.action.version,
        state=campaign.state.value,
        reason=campaign.reason,
        tenant_id=campaign.tenant_id,
        selection=cm.SelectionBody(**selection),
        failed_of=campaign.selection.failed_of,
        pace=cm.PaceBody(**msgspec.structs.asdict(campaign.pace)),
        canary=None if campaign.canary is None else cm.CanaryBody(**msgspec.structs.asdict(campaign.canary)),
        stop=None if campaign.stop is None else cm.StopBody(**msgspec.structs.asdict(campaign.stop)),
        canaries=campaign.canaries,
        promoted=campaign.promoted,
        total=campaign.total,
        counts=cm.CountsAnswer(
            waiting=max(0, campaign.total - counts.ended - counts.open),
            **msgspec.structs.asdict(counts),
        ),
        per_second=None if speed is None else round(speed, 3),
        eta=last + timedelta(seconds=left / speed) if running and last and speed else None,
        created_at=campaign.created_at,
        started_at=campaign.started_at,
        ended_at=campaign.ended_at,
    )

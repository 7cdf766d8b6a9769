"""The figures 5 to 8 on cards: who may do what, cell for cell, by the card, by restriction and by policy.

Each cell of `rights-*.json` is tried on a card that the TSM built, with the keys of whoever holds the domain.
"""

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.machine.bench import RIGHTS
from tests.machine.figure_bench import FigureBench
from tests.machine.figure_stage import Stage

from opentsm.card.codec.aid import Aid
from opentsm.card.gp.privilege_matrix import privilege_matrix
from opentsm.card.gp.privileges import Privilege
from opentsm.card.gp.se_rights import Act, Enforcement
from opentsm.tsm.bootstrap import se_configurations
from opentsm.tsm.domain.arrangement import Arrangement, ContentMode, ProviderPlace
from opentsm.tsm.domain.card_content import ObservedContent
from opentsm.tsm.domain.operation import OperationState
from opentsm.tsm.kernel.errors import PlanRefusedError
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.roles.hub.arrangements.permission import Permission

P = Privilege
NUMBERS = (500, 600, 700, 800)
# What is shown by the privileges that the card reports, not by a command of the domain's holder.
SHOWN = {Act.VERIFY_TOKENS: P.TOKEN_VERIFICATION, Act.CHECK_SIGNATURES: P.MANDATED_DAP_VERIFICATION}
DISPENSABLE = ("MDPH SD", "CA SD")
# GPCS 2.3.1: conditions of use (§9.2 ff.), no such entry for this domain (§11.4.2.1), not selectable (§6.4.2)
CONDITIONS, NOT_HERE, NOT_SELECTABLE = 0x6985, 0x6A86, (0x6A81, 0x6A82)


@dataclass
class Figure:
    """A built card of a figure, and another with the dispensable domains where the figure has them."""

    number: int
    arrangement: Arrangement
    whole: Arrangement
    stage: Stage
    full: Stage

    def stage_of(self, role: str) -> Stage:
        return self.full if role in DISPENSABLE else self.stage


async def built(dsn: str, directory: Path, number: int, *, services: bool) -> FigureBench:
    bench = FigureBench(dsn, directory, number, services=services)
    await bench.open()
    await bench.seed()
    ended = await bench.built()
    assert ended.state is OperationState.SUCCEEDED, ended.failure
    await bench.close()
    return bench


@pytest.fixture(scope="module", params=NUMBERS)
def figure(request: pytest.FixtureRequest, dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Figure:
    number: int = request.param
    bench = asyncio.run(built(dsn, tmp_path_factory.mktemp("figure"), number, services=False))
    full = bench
    if number >= 700:
        full = asyncio.run(built(dsn, tmp_path_factory.mktemp("full"), number, services=True))
    stage = Stage(bench.card, bench.arrangement)
    return Figure(
        number,
        bench.arrangement,
        full.arrangement,
        stage,
        Stage(full.card, full.arrangement, furnished=False) if number >= 700 else stage,
    )


def cells(number: int) -> list[tuple[str, Act]]:
    """Return the cells that a command can try."""
    rights = RIGHTS[number]
    return [(role, act) for role, row in rights.cells.items() for act in row if act not in SHOWN]


def named(number: int, act: Act) -> tuple[int, ...]:
    """Return the status words with which a card refuses an act."""
    if act is Act.SEE_ALL:
        return (NOT_HERE,)
    if act is Act.UNLOCK_CARD:
        return NOT_SELECTABLE
    if number == 500 and act is Act.UPDATE_REGISTRY:  # Card Specification 2.1.1 has no such command
        return (NOT_HERE,)
    if number == 500 and act is Act.CREATE_ARRANGED:  # Delegated Management is not among what it assigns
        return (0x6A80, CONDITIONS)
    return (CONDITIONS,)


def test_cells_when_tried_with_the_holders_keys_then_the_card_does_what_the_matrix_says(
    figure: Figure,
) -> None:
    rights, wrong = RIGHTS[figure.number], []
    for role, act in cells(figure.number):
        stage, right = figure.stage_of(role), rights.right(role, act)
        word = stage.attempt(stage.roles[role], act)
        if right.token:
            # without a token; with one it is a service in mode DM
            expected: tuple[int, ...] = (CONDITIONS,)
        elif right.allowed or right.enforced_by is Enforcement.POLICY:
            # what only the policy refuses the card would do: else the cell were wrong
            expected = (0x9000,)
        else:
            expected = named(figure.number, act)
        if word not in expected:
            wrong.append(f"{role} {act.value}: {word:04X}, {[f'{one:04X}' for one in expected]}")
    assert wrong == []


def test_restrictions_when_lifted_in_the_cards_memory_then_the_same_acts_succeed(figure: Figure) -> None:
    """What `restrict` cells refuse is refused by nothing else (GPCS 2.3.1 §11.5.2.3.7)."""
    restricted = RIGHTS[figure.number].enforced_by(Enforcement.RESTRICT)
    assert {act for _, act in restricted} == (set() if figure.number == 500 else {Act.LOAD, Act.EXTRADITE})
    for role, act in restricted:
        stage = figure.stage_of(role)
        assert stage.attempt(stage.roles[role], act) == CONDITIONS
        assert stage.unrestricted().attempt(stage.roles[role], act) == 0x9000, (role, act)


def test_mandated_dap_when_its_domain_is_there_then_no_load_without_signature(figure: Figure) -> None:
    """GPCS 2.3.1 §9.3.5: the MDPH SD checks every load file, whoever loads it."""
    if figure.number >= 700:
        central = figure.stage.roles["Central SD"]
        assert figure.stage.attempt(central, Act.LOAD) == 0x9000
        assert figure.full.attempt(central, Act.LOAD) == CONDITIONS
    else:
        assert not any(right[Act.CHECK_SIGNATURES].allowed for right in RIGHTS[figure.number].cells.values())


def test_matrix_when_read_from_the_card_then_equal_cell_for_cell_to_the_data(figure: Figure) -> None:
    configuration = se_configurations()[figure.number]
    for stage in (figure.stage, figure.full):
        roles = {aid: role for role, aid in stage.roles.items()}
        shown = {aid: one for aid, one in stage.registry().items() if aid in roles}
        matrix = privilege_matrix(configuration, shown.values(), roles)
        print(f"configuration {figure.number}", *matrix.lines(), sep="\n")
        assert matrix.differences() == ()
        assert len(matrix.columns) == len(roles)
        for role, aid in stage.roles.items():
            column = next(one for one in matrix.columns if one.aid == aid)
            due = configuration.role(role)
            held = {privilege for privilege in Privilege if privilege and column.cell(privilege) == "x"}
            assert held == {privilege for privilege in Privilege if privilege and privilege in due.privileges}
            for act, privilege in SHOWN.items():
                assert RIGHTS[figure.number].right(role, act).allowed is (privilege in column.privileges)


# --- the server ------------------------------------------------------------------------------------------

PROVIDER = TenantId("provider")


def permission(figure: Figure, role: str) -> tuple[Permission, TenantId, Aid]:
    """Return the permission of a plan, and the party and domain of a role; of a service's role a provider."""
    arrangement = figure.whole
    configuration = se_configurations()[figure.number]
    arranged = next((one for one in arrangement.domains if one.role == role), None)
    if arranged is None:
        mode = ContentMode.DELEGATED if role.endswith("DM") else ContentMode.CENTRALISED
        privileges = int(configuration.role(role).coded)
        place = ProviderPlace(mode=mode, under="Central SD", role=role, privileges=privileges)
        arrangement = replace(arrangement, places={PROVIDER: place})
    asked = Permission(
        arrangement,
        RIGHTS[figure.number],
        issuer_id=arrangement.issuer_id,
        provider_id=PROVIDER,
        observed=ObservedContent(),
    )
    if arranged is None:
        return asked, PROVIDER, figure.stage.roles[role]
    return asked, arranged.holder_id, arranged.aid


def test_cells_when_asked_of_the_server_then_every_other_act_is_refused(figure: Figure) -> None:
    for role, row in RIGHTS[figure.number].cells.items():
        asked, party, domain = permission(figure, role)
        for act, right in row.items():
            if right.allowed:
                asked.check_acts(party, domain, (act,))
                continue
            with pytest.raises(PlanRefusedError):
                asked.check_acts(party, domain, (act,))


def test_server_when_a_party_does_not_hold_the_domain_then_refused(figure: Figure) -> None:
    stranger = TenantId("stranger")
    for role in RIGHTS[figure.number].cells:
        asked, _, domain = permission(figure, role)
        with pytest.raises(PlanRefusedError):
            asked.check_acts(stranger, domain, (Act.PUT_OWN_KEYS,))


PAGE = Path(__file__).parents[2] / "docs/reference/arrangements.md"


def test_policy_cells_when_listed_in_the_reference_then_all_of_them_and_no_others() -> None:
    listed = {
        (int(row[0]), row[1], row[2])
        for row in re.findall(r"^\| (\d+) \| ([^|]+?) \| `(\w+)` \|", PAGE.read_text("utf-8"), re.MULTILINE)
    }
    data = {
        (number, role, act.value)
        for number in NUMBERS
        for role, act in RIGHTS[number].enforced_by(Enforcement.POLICY)
    }
    assert listed == data and data

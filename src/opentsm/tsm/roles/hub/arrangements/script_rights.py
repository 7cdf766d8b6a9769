"""What a provider's own TSM may do on an arranged card: its scripts against the matrix of rights. Pure.

Instruction and parameters stand in the clear also inside secure messaging; what a command is about does not.
So a command is let through when the party may do any of what its header can mean, and refused otherwise;
the rest the card refuses.
Source: GPCS 2.3.1 §11.2 (DELETE), §11.5 (INSTALL), §11.6 (LOAD), §11.8 (PUT KEY), §11.10 (SET STATUS),
§11.11 (STORE DATA).
"""

from collections.abc import Mapping

from opentsm.card.gp.instructions import Ins, InstallKind
from opentsm.card.gp.se_rights import Act
from opentsm.tsm.engine.script_rules import CheckedScript, ManagingCommand, refused
from opentsm.tsm.kernel.errors import PlanRefusedError
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.roles.hub.arrangements.permission import Permission

_MORE_COMMANDS = 0x80
_ISD_STATUS = 0x80
_INSTALL: Mapping[int, Act] = {
    InstallKind.LOAD: Act.LOAD,
    InstallKind.INSTALL: Act.INSTALL,
    InstallKind.MAKE_SELECTABLE: Act.INSTALL,
    InstallKind.EXTRADITION: Act.EXTRADITE,
    InstallKind.PERSONALIZATION: Act.PERSONALIZE,
    InstallKind.REGISTRY_UPDATE: Act.UPDATE_REGISTRY,
}
_MEANINGS: Mapping[int, tuple[tuple[Act, ...], ...]] = {
    # each inner tuple is one of the things that a command may be; all acts in it are needed for it
    Ins.LOAD: ((Act.LOAD,),),
    Ins.DELETE: ((Act.DELETE,), (Act.PUT_OWN_KEYS,)),
    Ins.PUT_KEY: ((Act.PUT_OWN_KEYS,),),
    Ins.STORE_DATA: ((Act.PERSONALIZE,), (Act.PUT_OWN_KEYS,)),
}


def check_rights(checked: CheckedScript, owner_id: TenantId, permission: Permission) -> None:
    """Check every command of a script that manages a domain.

    Raises:
        ScriptRefusedError: the party may do nothing of what a command can mean; its field names it.
    """
    for command in checked.managing:
        if not any(_may(owner_id, command, acts, permission) for acts in meanings(command)):
            raise refused(
                command.number,
                "by the arrangement of this secure element you may not do this",
                "Ask the party that may, or the issuer for another place.",
            )


def meanings(command: ManagingCommand) -> tuple[tuple[Act, ...], ...]:
    """Return what a command can mean, each as the acts that it takes; nothing for an unknown instruction."""
    if command.ins == Ins.INSTALL:
        p1 = command.p1 & ~_MORE_COMMANDS
        acts = tuple(dict.fromkeys(act for bit, act in _INSTALL.items() if p1 & bit))
        return (acts,) if acts else ()
    if command.ins == Ins.SET_STATUS:
        if command.p1 == _ISD_STATUS:
            return ((Act.LOCK_CARD,), (Act.UNLOCK_CARD,), (Act.TERMINATE_CARD,))
        return ((Act.LOCK,),)
    return _MEANINGS.get(command.ins, ())


def _may(owner_id: TenantId, command: ManagingCommand, acts: tuple[Act, ...], permission: Permission) -> bool:
    try:
        permission.check_acts(owner_id, command.domain, acts)
    except PlanRefusedError:
        return False
    return True

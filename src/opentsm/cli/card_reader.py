"""`opentsm card list|info|load|install|put-key|lock|unlock|delete`: work on a card in a reader.

No server, no database: keys come from a file or the environment, sessions are opened and checked here.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from opentsm.card.codec.aid import Aid
from opentsm.card.errors import CardError
from opentsm.card.gp.cap import LoadFile
from opentsm.card.gp.diversification import DiversificationMethod
from opentsm.card.gp.keys import AesLayout, KeyType
from opentsm.card.gp.responses import parse_put_key
from opentsm.card.gp.script import Script
from opentsm.cli.card_matrix import matrix_command
from opentsm.cli.desk import plans
from opentsm.cli.desk.carrying_out import carry_out, print_done, run_work, show_plan
from opentsm.cli.desk.keys import KeyChoice, choose_keys, require_keys
from opentsm.cli.desk.link import CardLink
from opentsm.cli.desk.options import (
    Desk,
    DryRunOption,
    TokenOption,
    aid_option,
    byte_option,
    hex_option,
    privileges_option,
    read_cap,
    verb,
)
from opentsm.cli.desk.reports import info_lines, read_info, read_registry, registry_document, tree_lines
from opentsm.cli.desk.session import Session, open_session, read_facts
from opentsm.cli.exit_codes import ExitCode
from opentsm.cli.output import CliError, JsonOption, print_json, say

# --- list and info -----------------------------------------------------------------------------


@verb
def list_command(
    desk: Desk,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show the card's content as a tree of its security domains."""

    async def run() -> None:
        async with desk.link() as link:
            entries = await read_registry(await desk.session(link))
        if as_json:
            print_json({"registry": registry_document(entries)})
            return
        for line in tree_lines(entries):
            typer.echo(line)

    run_work(run())


@verb
def info_command(
    desk: Desk,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show what the card says about itself; with keys also its life cycle."""

    async def run() -> None:
        choice = desk.keys()
        async with desk.link() as link:
            facts = await read_facts(link, desk.sd)
            document = await read_info(link, facts)
            document["life_cycle"] = None if choice is None else await _life_cycle(desk, link)
        if as_json:
            print_json(document)
            return
        for line in info_lines(document):
            typer.echo(line)
        if choice is None:
            say("the life cycle is told only in a session: give --keys")

    run_work(run())


async def _life_cycle(desk: Desk, link: CardLink) -> str | None:
    session = await desk.session(link)
    entries = await read_registry(session)
    own = next((entry for entry in entries if entry.aid == session.facts.aid), None)
    return (own or entries[0]).state_name if entries else None


# --- content -----------------------------------------------------------------------------------


@verb
def load_command(
    desk: Desk,
    *,
    file: Annotated[Path, typer.Argument(help="CAP file or raw load file.")],
    into: Annotated[str | None, typer.Option(help="Security domain that shall own the file.")] = None,
    descriptor: Annotated[bool, typer.Option(help="Load the Descriptor component too.")] = False,
    hash_name: Annotated[
        str, typer.Option("--hash", help="Send this hash of the load file: sha1, sha256, sha384, sha512.")
    ] = "",
    token: TokenOption = "",
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Load a CAP file."""
    target = None if into is None else aid_option("--into", into)
    order = plans.LoadOrder(
        read_cap(file), target, descriptor=descriptor, hash=hash_name, token=hex_option("--token", token)
    )

    def script(size: int) -> Script:
        return plans.load_script(order, size)

    done: dict[str, object] = {"loaded": str(order.load_file.package_aid)}
    carry_out(desk, script, done, dry_run=dry_run, as_json=as_json)


@verb
def install_command(
    desk: Desk,
    *,
    module: Annotated[str | None, typer.Argument(help="Module AID; from --cap its only one.")] = None,
    cap: Annotated[Path | None, typer.Option(help="Load this file first, then install from it.")] = None,
    package: Annotated[str | None, typer.Option(help="Load file AID, when it is on the card.")] = None,
    instance: Annotated[
        str | None, typer.Option(help="AID of the instance; else that of the module.")
    ] = None,
    privileges: Annotated[
        str, typer.Option(help="Names divided by commas (security-domain,trusted-path), or hex.")
    ] = "",
    params: Annotated[str, typer.Option(help="Application parameters (value of C9), hex.")] = "",
    only_install: Annotated[bool, typer.Option(help="Leave it INSTALLED, not selectable.")] = False,
    token: TokenOption = "",
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make an instance of a module, on request after loading its file."""
    load_file = None if cap is None else read_cap(cap)
    package_aid, module_aid = _origin(load_file, package, module)
    order = plans.InstallOrder(
        package_aid,
        module_aid,
        module_aid if instance is None else aid_option("--instance", instance),
        privileges_option(privileges),
        hex_option("--params", params),
        make_selectable=not only_install,
        token=hex_option("--token", token),
    )

    def script(size: int) -> Script:
        install = plans.install_script(order)
        if load_file is None:
            return install
        return plans.load_script(plans.LoadOrder(load_file), size) + install

    done: dict[str, object] = {"installed": str(order.instance)}
    carry_out(desk, script, done, dry_run=dry_run, as_json=as_json)


def _origin(load_file: LoadFile | None, package: str | None, module: str | None) -> tuple[Aid, Aid]:
    if load_file is None:
        if package is None or module is None:
            raise CliError("name the module and --package, or give --cap", code=ExitCode.USAGE)
        return aid_option("--package", package), aid_option("MODULE", module)
    if module is not None:
        return load_file.package_aid, aid_option("MODULE", module)
    if len(load_file.applets) != 1:
        raise CliError(
            f"the file has {len(load_file.applets)} modules: name one",
            advice=" or ".join(map(str, load_file.applets)),
            code=ExitCode.USAGE,
        )
    return load_file.package_aid, load_file.applets[0]


@verb
def delete_command(
    desk: Desk,
    *,
    aid: Annotated[str | None, typer.Argument(help="AID of an application or load file.")] = None,
    related: Annotated[bool, typer.Option("--related", help="A load file with its instances.")] = False,
    key_version: Annotated[str | None, typer.Option(help="Delete this key set instead, hex.")] = None,
    key_id: Annotated[str | None, typer.Option(help="Of the set only this key, hex.")] = None,
    token: TokenOption = "",
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Delete an application, a load file or a key set."""
    if (aid is None) == (key_version is None):
        raise CliError("give either an AID or --key-version", code=ExitCode.USAGE)
    if key_version is not None:
        kid = None if key_id is None else byte_option("--key-id", key_id)
        plan = plans.delete_key_script(byte_option("--key-version", key_version), kid)
    else:
        what = aid_option("AID", aid or "")
        plan = plans.delete_script(what, related=related, token=hex_option("--token", token))
    done: dict[str, object] = {"deleted": aid if key_version is None else f"key set {key_version}"}
    carry_out(desk, lambda _: plan, done, dry_run=dry_run, as_json=as_json)


@verb
def lock_command(
    desk: Desk,
    *,
    aid: Annotated[str | None, typer.Argument(help="AID of an application or security domain.")] = None,
    card: Annotated[bool, typer.Option("--card", help="The whole card instead (CARD_LOCKED).")] = False,
    tree: Annotated[bool, typer.Option("--tree", help="A security domain with all below it.")] = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Lock an application, a security domain or the card."""
    _set_lock(desk, _one_object(aid, card=card), lock=True, tree=tree, dry_run=dry_run, as_json=as_json)


@verb
def unlock_command(
    desk: Desk,
    *,
    aid: Annotated[str | None, typer.Argument(help="AID of an application or security domain.")] = None,
    card: Annotated[bool, typer.Option("--card", help="The whole card instead (SECURED).")] = False,
    tree: Annotated[bool, typer.Option("--tree", help="A security domain with all below it.")] = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Unlock an application, a security domain or the card."""
    _set_lock(desk, _one_object(aid, card=card), lock=False, tree=tree, dry_run=dry_run, as_json=as_json)


def _one_object(aid: str | None, *, card: bool) -> Aid | None:
    if card == (aid is not None):
        raise CliError("give either an AID or --card", code=ExitCode.USAGE)
    return None if aid is None else aid_option("AID", aid)


def _set_lock(desk: Desk, aid: Aid | None, *, lock: bool, tree: bool, dry_run: bool, as_json: bool) -> None:
    plan = plans.lock_script(aid, lock=lock, tree=tree)
    done: dict[str, object] = {"locked" if lock else "unlocked": "card" if aid is None else str(aid)}
    carry_out(desk, lambda _: plan, done, dry_run=dry_run, as_json=as_json)


# --- keys --------------------------------------------------------------------------------------


@verb
def put_key_command(
    desk: Desk,
    *,
    new_keys: Annotated[str, typer.Option(help="The new keys: FILE or env:NAME.")],
    new_kvn: Annotated[
        str | None, typer.Option(help="Version of the new set, hex; else as its file says.")
    ] = None,
    replace: Annotated[str, typer.Option(help="Version of the set to replace, hex; 00 adds.")] = "00",
    new_diversification: Annotated[
        DiversificationMethod | None, typer.Option(help="The new key is a master key.")
    ] = None,
    key_type: Annotated[str, typer.Option(help="aes or des; else as the session's protocol.")] = "",
    aes_layout: Annotated[
        AesLayout, typer.Option(help="How a key block under an AES DEK is written.")
    ] = AesLayout.INNER_LENGTH,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Add or replace a key set, check its check values, and prove it by opening a session with it."""
    fresh = require_keys(choose_keys(new_keys, test_keys=desk.test_keys, method=new_diversification))
    number = byte_option("--new-kvn", new_kvn) if new_kvn is not None else fresh.kvn
    if number is None or not 1 <= number <= 0x7F:
        raise CliError(
            "the new set needs a version from 01 to 7F", advice="give --new-kvn", code=ExitCode.USAGE
        )
    replaces = byte_option("--replace", replace)
    if dry_run:
        what = f"replace key set {replaces:02X} by" if replaces else "add key set"
        steps: list[dict[str, object]] = [
            {"step": f"{what} {number:02X}", "apdu": f"80D8{replaces:02X}81 (keys are not shown)"}
        ]
        show_plan(steps, as_json=as_json)
        return

    async def run() -> plans.PutKeyOrder:
        async with desk.link() as link:
            session = await desk.session(link)
            kind = _key_type(key_type, session)
            order = plans.PutKeyOrder(fresh.for_card(session.init.kdd), kind, number, replaces, aes_layout)
            await _put_and_prove(desk, link, session, order)
            return order

    order = run_work(run())
    values = [value.hex().upper() for value in order.check_values()]
    print_done(
        {"kvn": f"{number:02X}", "type": order.key_type.name, "kcv": values, "proved": True}, as_json=as_json
    )


def _key_type(text: str, session: Session) -> KeyType:
    kinds = {"aes": KeyType.AES, "des": KeyType.DES, "": session.dek.type}
    if text.lower() not in kinds:
        raise CliError(f"--key-type is aes or des, not {text!r}", code=ExitCode.USAGE)
    return kinds[text.lower()]


async def _put_and_prove(desk: Desk, link: CardLink, session: Session, order: plans.PutKeyOrder) -> None:
    try:
        command, expected = plans.put_key_command(order, session.dek), order.check_values()
    except CardError as error:
        raise CliError(f"these keys cannot be sent: {error}", code=ExitCode.BAD_INPUT) from error
    answer = await session.require(command, order.meaning)
    try:
        said = parse_put_key(answer)
    except CardError as error:
        raise CliError("PUT KEY was answered strangely", why=str(error), code=ExitCode.IN_DOUBT) from error
    if said.kvn != order.kvn or said.kcvs != expected:
        raise CliError(
            "the card answers other check values than those of the new keys",
            advice="keep both key sets and look with `opentsm card info`",
            code=ExitCode.WRONG_CRYPTOGRAM,
        )
    fresh = KeyChoice(order.keys, order.kvn)
    say("the check values are right; opening a session with the new keys")
    await open_session(link, fresh, secrets.token_bytes(16), sd=desk.sd, kvn=order.kvn, level=desk.level)


VERBS: dict[str, Callable[..., None]] = {
    "list": list_command,
    "info": info_command,
    "matrix": matrix_command,
    "load": load_command,
    "install": install_command,
    "put-key": put_key_command,
    "lock": lock_command,
    "unlock": unlock_command,
    "delete": delete_command,
}


def add_reader_commands(app: typer.Typer) -> None:
    """Register the verbs that need a reader."""
    for name, command in VERBS.items():
        app.command(name)(command)

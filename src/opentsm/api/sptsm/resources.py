"""Load files, application configurations and personalisation scripts (TR-03165 §4.1.6.5 to 4.1.6.7)."""

from litestar import Response, delete, get, post
from litestar.params import FromPath

from opentsm.api.sptsm.exchange import (
    AnyRequest,
    Catalogue,
    Provider,
    binary,
    read_json,
    read_upload,
    refuse_body,
)
from opentsm.tsm.roles.sp.forms import Document

_ELF = "/executable-load-files/{elf_id:str}"
_CONFIG = "/application-configs/{config_id:str}"
_SCRIPT = "/personalization-scripts/{script_id:str}"


@get("/executable-load-files")
async def list_elfs(request: AnyRequest, provider: Provider, catalogue: Catalogue) -> list[Document]:
    """Return all load files."""
    await refuse_body(request)
    return await catalogue.load_files.all(provider)


@post("/executable-load-files", status_code=200)
async def upload_elf(request: AnyRequest, provider: Provider, catalogue: Catalogue) -> Document:
    """Store a load file."""
    upload = await read_upload(request, "elfFilename", "elfFile")
    return await catalogue.load_files.upload(provider, upload.name, upload.data)


@get(_ELF)
async def get_elf(
    request: AnyRequest, provider: Provider, catalogue: Catalogue, elf_id: FromPath[str]
) -> Document:
    """Return one load file's document."""
    await refuse_body(request)
    return await catalogue.load_files.get(provider, elf_id)


@delete(_ELF)
async def delete_elf(
    request: AnyRequest, provider: Provider, catalogue: Catalogue, elf_id: FromPath[str]
) -> None:
    """Delete a load file that no flavor uses."""
    await refuse_body(request)
    await catalogue.load_files.delete(provider, elf_id)


@get(f"{_ELF}/binary")
async def get_elf_binary(
    request: AnyRequest, provider: Provider, catalogue: Catalogue, elf_id: FromPath[str]
) -> Response[bytes]:
    """Return the file as uploaded."""
    await refuse_body(request)
    return binary(*await catalogue.load_files.binary(provider, elf_id))


@get(f"{_ELF}/executable-modules")
async def list_ems(
    request: AnyRequest, provider: Provider, catalogue: Catalogue, elf_id: FromPath[str]
) -> list[Document]:
    """Return the modules of a load file."""
    await refuse_body(request)
    return await catalogue.load_files.modules(provider, elf_id)


@get(f"{_ELF}/executable-modules/{{em_id:str}}")
async def get_em(
    request: AnyRequest, provider: Provider, catalogue: Catalogue, elf_id: FromPath[str], em_id: FromPath[str]
) -> Document:
    """Return one module."""
    await refuse_body(request)
    return await catalogue.load_files.module(provider, elf_id, em_id)


# --- application configurations ----------------------------------------------------------------


@get("/application-configs")
async def list_app_configs(request: AnyRequest, provider: Provider, catalogue: Catalogue) -> list[Document]:
    """Return all application configurations."""
    await refuse_body(request)
    return await catalogue.configurations.all(provider)


@post("/application-configs", status_code=200)
async def create_app_config(request: AnyRequest, provider: Provider, catalogue: Catalogue) -> Document:
    """Create an application configuration."""
    return await catalogue.configurations.create(provider, await read_json(request))


@get(_CONFIG)
async def get_app_config(
    request: AnyRequest, provider: Provider, catalogue: Catalogue, config_id: FromPath[str]
) -> Document:
    """Return one application configuration."""
    await refuse_body(request)
    return await catalogue.configurations.get(provider, config_id)


@delete(_CONFIG)
async def delete_app_config(
    request: AnyRequest, provider: Provider, catalogue: Catalogue, config_id: FromPath[str]
) -> None:
    """Delete an application configuration that no flavor uses."""
    await refuse_body(request)
    await catalogue.configurations.delete(provider, config_id)


# --- personalisation scripts -------------------------------------------------------------------


@get("/personalization-scripts")
async def list_scripts(request: AnyRequest, provider: Provider, catalogue: Catalogue) -> list[Document]:
    """Return all scripts."""
    await refuse_body(request)
    return await catalogue.scripts.all(provider)


@post("/personalization-scripts", status_code=200)
async def upload_script(request: AnyRequest, provider: Provider, catalogue: Catalogue) -> Document:
    """Store a script."""
    upload = await read_upload(request, "scriptFilename", "scriptFile")
    return await catalogue.scripts.upload(provider, upload.name, upload.data)


@get(_SCRIPT)
async def get_script(
    request: AnyRequest, provider: Provider, catalogue: Catalogue, script_id: FromPath[str]
) -> Document:
    """Return one script's document."""
    await refuse_body(request)
    return await catalogue.scripts.get(provider, script_id)


@delete(_SCRIPT)
async def delete_script(
    request: AnyRequest, provider: Provider, catalogue: Catalogue, script_id: FromPath[str]
) -> None:
    """Delete a script that no application configuration uses."""
    await refuse_body(request)
    await catalogue.scripts.delete(provider, script_id)


@get(f"{_SCRIPT}/binary")
async def get_script_binary(
    request: AnyRequest, provider: Provider, catalogue: Catalogue, script_id: FromPath[str]
) -> Response[bytes]:
    """Return the script as uploaded."""
    await refuse_body(request)
    return binary(*await catalogue.scripts.binary(provider, script_id))


HANDLERS = [
    list_elfs,
    upload_elf,
    get_elf,
    delete_elf,
    get_elf_binary,
    list_ems,
    get_em,
    list_app_configs,
    create_app_config,
    get_app_config,
    delete_app_config,
    list_scripts,
    upload_script,
    get_script,
    delete_script,
    get_script_binary,
]

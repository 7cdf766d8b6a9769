"""Certificates and the configurations of online systems (TR-03165 §4.1.6.8, §4.1.6.9), as operations."""

from opentsm.api.sptsm.table import Body, Operation, create, delete, file, get, list_, modify

_CERTIFICATE = "/certificates/{certificateId}"
_SPOS = "/spos-configs/{sposConfigId}"

_CERTIFICATES = (
    list_(
        "/certificates",
        "listCerts",
        "Certificate",
        "List the certificates",
        lambda c: c.certificates.all,
    ),
    Operation(
        "POST",
        "/certificates",
        "createCertAndUploadBinary",
        "Upload a certificate",
        lambda c: c.certificates.upload,
        "Certificate",
        body=Body.CERTIFICATE,
    ),
    get(_CERTIFICATE, "getCert", "Certificate", "Show a certificate", lambda c: c.certificates.get),
    Operation(
        "PUT",
        _CERTIFICATE,
        "modifyCertAndOverwriteBinary",
        "Replace the file of a certificate",
        lambda c: c.certificates.replace,
        "Certificate",
        body=Body.CERTIFICATE,
    ),
    delete(
        _CERTIFICATE, "deleteCert", "Delete a certificate that nothing uses", lambda c: c.certificates.delete
    ),
    file(
        f"{_CERTIFICATE}/binary",
        "getCertBinary",
        "Fetch the certificate as uploaded",
        lambda c: c.certificates.binary,
    ),
)
_SPOS_CONFIGS = (
    list_(
        "/spos-configs",
        "listSposConfigs",
        "SposConfig",
        "List the configurations of online systems",
        lambda c: c.spos_configs.all,
    ),
    create(
        "/spos-configs",
        "createSposConfig",
        "SposConfig",
        "Create a configuration of an online system",
        lambda c: c.spos_configs.create,
    ),
    get(
        _SPOS,
        "getSposConfig",
        "SposConfig",
        "Show a configuration of an online system",
        lambda c: c.spos_configs.get,
    ),
    modify(
        _SPOS,
        "modifySposConfig",
        "SposConfig",
        "Replace address and certificate of an online system",
        lambda c: c.spos_configs.modify,
    ),
    delete(
        _SPOS,
        "deleteSposConfig",
        "Delete a configuration of an online system that no service uses",
        lambda c: c.spos_configs.delete,
    ),
)
ONLINE_SYSTEMS = (*_CERTIFICATES, *_SPOS_CONFIGS)

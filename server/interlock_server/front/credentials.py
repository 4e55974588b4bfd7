"""The server's certificates, as gRPC wants them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import grpc
import grpc.aio

from interlock_server.certificates import Certificates, Material


def server_credentials(certificates: Certificates) -> grpc.ServerCredentials:
    """Return credentials for one listener; gRPC asks before each handshake whether the certificates have changed."""
    used = certificates.current

    def newer() -> grpc.ServerCertificateConfiguration | None:
        nonlocal used
        now = certificates.current
        if now is used:
            return None
        used = now
        return _configuration(now)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(used),
        newer,  # type: ignore[arg-type]  # None is for no change, which the stubs do not know
        require_client_authentication=certificates.asks_callers,
    )


def add_port(server: grpc.aio.Server, address: str, certificates: Certificates | None) -> None:
    """Have a server listen, with TLS where there are certificates; raises OSError."""
    port = (
        server.add_insecure_port(address)
        if certificates is None
        else server.add_secure_port(address, server_credentials(certificates))
    )
    if port == 0:
        raise OSError(f"{address} cannot be bound")


def certificate_names(context: Mapping[str, Iterable[bytes]] | None) -> tuple[str, ...]:
    """Return the names in a caller's certificate: the alternative ones, then the common name."""
    if not context:
        return ()
    found = [*context.get("x509_subject_alternative_name", ()), *context.get("x509_common_name", ())]
    return tuple(dict.fromkeys(name.decode(errors="replace") for name in found))


def _configuration(material: Material) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(material.key, material.cert)], root_certificates=material.client_ca
    )

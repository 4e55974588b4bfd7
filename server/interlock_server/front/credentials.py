"""The server's certificates, as gRPC wants them."""

from __future__ import annotations

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


def _configuration(material: Material) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(material.key, material.cert)], root_certificates=material.client_ca
    )

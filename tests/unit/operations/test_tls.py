"""TLS to a pinned address: the certificate is the name's, not the address's."""

from __future__ import annotations

import datetime
import ssl
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from app.domain.errors import OperationFailed
from tasks.operations import http
from tests.support.http_target import http_target
from tests.support.operation_context import context

NAME = "named.example"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A self-signed certificate of NAME with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def server(certificate):
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    with http_target(lambda _: (200, {}, b"sealed"), tls) as target:
        yield target


def ask(host, port):
    call = http.Call("GET", f"https://{host}:{port}/", {}, None, time.monotonic() + 5, 1000)
    return http.follow(context(targets=(f"{host}:{port}",)), call, lambda *_: ("127.0.0.1",))


def test_the_certificate_must_be_the_names(server, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert ask(NAME, server.port).body == b"sealed"
    with pytest.raises(OperationFailed) as failure:
        ask("other.example", server.port)
    assert (failure.value.code, failure.value.retryable) == ("tls_failed", False)


def test_an_unknown_signer_is_refused(server):
    with pytest.raises(OperationFailed) as failure:
        ask(NAME, server.port)
    assert failure.value.code == "tls_failed"
    assert server.seen == []

"""The guard against requests that are turned against the inside (SSRF)."""

from __future__ import annotations

import pytest

from app.security.egress import NameNotResolved, TargetRefused, check_target, system_resolver, why_refused

INSIDE = [
    "127.0.0.1",
    "127.9.9.9",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "192.0.0.1",
    "192.0.2.1",
    "198.18.0.1",
    "203.0.113.9",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "fc00::1",
    "fd00:ec2::254",
    "ff02::1",
    "2001:db8::1",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::a00:1",
    "2002:7f00:1::",
    "2001:0:7f00:1::",
    "no-address",
]


def public(_host: str, _port: int) -> tuple[str, ...]:
    return ("93.184.216.34",)


@pytest.mark.parametrize("address", INSIDE)
def test_an_address_inside_is_refused(address):
    assert why_refused(address) is not None
    with pytest.raises(TargetRefused):
        check_target("http://name.example/", (), lambda *_: (address,))


@pytest.mark.parametrize("address", ["93.184.216.34", "8.8.8.8", "2606:2800:220:1::1"])
def test_a_public_address_is_pinned(address):
    target = check_target("https://Name.Example:8443/a?b=c", (), lambda *_: (address,))
    assert (target.address, target.host, target.port, target.path) == (
        address,
        "name.example",
        8443,
        "/a?b=c",
    )
    assert target.host_header == "name.example:8443"


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "gopher://name/",
        "unix:///run/docker.sock",
        "http+unix://%2Frun%2Fsock/x",
        "ftp://name/",
        "//name/",
        "name",
        "",
        "http://",
        "http:///path",
        "http://user:pass@name/",
        "http://name@127.0.0.1/",
        "http://name:0/",
        "http://name:99999/",
        "http://name:x/",
        "http://na me/",
        "http://name\\@127.0.0.1/",
        "http://name/\r\nHost: inside",
        "http://[fe80::1%25eth0]/",
        "http://[::1/",
        "http://name/" + "a" * 9000,
    ],
)
def test_a_malformed_or_foreign_url_is_refused(url):
    with pytest.raises(TargetRefused):
        check_target(url, (), public)


@pytest.mark.parametrize(
    "url",
    [
        "http://2130706433/",
        "http://0x7f.1/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "http://localhost/",
        "http://0/",
        "http://[::ffff:7f00:1]/",
        "http://127.0.0.1./",
    ],
)
def test_other_spellings_of_loopback_are_refused(url):
    with pytest.raises((TargetRefused, NameNotResolved)):
        check_target(url, (), system_resolver)


def test_one_inner_address_among_public_ones_refuses_the_name():
    with pytest.raises(TargetRefused, match=r"the operator may allow name\.example:80"):
        check_target("http://name.example/", (), lambda *_: ("8.8.8.8", "10.0.0.1"))


def test_the_allow_list_names_host_and_port_exactly():
    allowed = ("127.0.0.1:8080", "[::1]:81")
    assert check_target("http://127.0.0.1:8080/x", allowed).address == "127.0.0.1"
    assert check_target("http://[::1]:81/", allowed).host_header == "[::1]:81"
    for url in ("http://127.0.0.1:8081/", "http://127.0.0.1/", "http://localhost:8080/"):
        with pytest.raises(TargetRefused):
            check_target(url, allowed)


def test_a_name_without_an_address_is_told_apart():
    with pytest.raises(NameNotResolved):
        check_target("http://nowhere.example/", (), lambda *_: ())

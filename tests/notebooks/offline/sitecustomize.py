"""On the path of every process of a test run: Python may connect to this machine, and to no other.

Kernels, the book's build and the lessons inherit it through PYTHONPATH, which `tests/run.py` sets.
"""

import ipaddress
import socket


class NetworkAccess(OSError):
    """Something tried to leave this machine."""


def _check(host: object) -> None:
    if host in (None, "", "localhost", b"localhost"):
        return
    host = host.decode() if isinstance(host, bytes) else host
    try:
        local = ipaddress.ip_address(str(host).partition("%")[0])
    except ValueError:
        local = None
    if local is None or not (local.is_loopback or local.is_unspecified):
        raise NetworkAccess(f"No network access here, but something asked for {host!r}.")


def _is_internet(family: int) -> bool:
    return family in (socket.AF_INET, socket.AF_INET6)


class Socket(socket.socket):
    """A socket that refuses to connect or send elsewhere."""

    def connect(self, address):
        if _is_internet(self.family):
            _check(address[0])
        return super().connect(address)

    def connect_ex(self, address):
        if _is_internet(self.family):
            _check(address[0])
        return super().connect_ex(address)

    def sendto(self, data, *rest):
        if _is_internet(self.family):
            _check(rest[-1][0])
        return super().sendto(data, *rest)


def _refuse_first(function):
    def refusing(host, *args, **kwargs):
        if host != socket.gethostname():
            _check(host)
        return function(host, *args, **kwargs)

    return refusing


socket.socket = Socket
for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex"):
    setattr(socket, name, _refuse_first(getattr(socket, name)))

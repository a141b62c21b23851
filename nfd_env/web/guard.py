"""Who may come in: the Host, Origin and token checks, and the headers of every answer."""

from __future__ import annotations

import hmac
import ipaddress
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

COOKIE = "nfd_token"
LOOPBACK = ("localhost", "127.0.0.1", "::1")
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
    "Server": "nfd",
}

logger = logging.getLogger(__name__)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Guard:
    """Lets requests in or not.

    Against pages of other sites (their ``Origin`` differs), against names that such a page lets
    point here (DNS rebinding: the ``Host`` is none of ours), and against strangers (the token).
    """

    host: str
    """The address that is listened on."""
    token: str | None
    """What every visitor must know; None: nothing, which is for loopback only."""
    names: tuple[str, ...] = ()
    """Other names that this server is reached by, such as that of a reverse proxy."""

    def refusal(self, request: web.Request) -> web.Response | None:
        """Why a request may not come in; None if it may."""
        if not self.knows_host(request.headers.get("Host", "")):
            return _refuse(403, "This server does not answer to that Host.")
        changes = request.method not in ("GET", "HEAD")
        if (changes or request.path == "/ws") and not self._same_origin(request):
            return _refuse(403, "Only this server's own page may ask for that.")
        if self.token is None:
            return None
        given = request.cookies.get(COOKIE, "")
        if not hmac.compare_digest(given.encode(), self.token.encode()):
            return _refuse(401, "Open the address with the token that `nfd play --web` printed.")
        return None

    def welcomes(self, request: web.Request) -> bool:
        """Whether the address itself holds the right token."""
        given = request.query.get("token", "")
        return self.token is not None and hmac.compare_digest(given.encode(), self.token.encode())

    def knows_host(self, header: str) -> bool:
        """Whether a ``Host`` header names this server."""
        try:
            name = (urlsplit(f"//{header}").hostname or "").lower()
        except ValueError:
            return False
        if name in LOOPBACK or name == self.host.lower() or name in self.names:
            return True
        if is_loopback(self.host):
            return False
        try:  # a number cannot be made to point elsewhere
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    @staticmethod
    def _same_origin(request: web.Request) -> bool:
        try:
            origin = urlsplit(request.headers.get("Origin", ""))
        except ValueError:
            return False
        ours = request.headers.get("Host", "").lower()
        return origin.scheme in ("http", "https") and origin.netloc.lower() == ours


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``.

    >>> [is_loopback(host) for host in ("127.0.0.1", "localhost", "::1", "0.0.0.0", "example.org")]
    [True, True, True, False, False]
    """
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def middleware(guard: Guard) -> Any:
    """Guards every request, and turns every failure into a short answer."""

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            known = guard.knows_host(request.headers.get("Host", ""))
            if request.path == "/" and known and guard.welcomes(request):
                return _remember(request, guard.token or "")
            refusal = guard.refusal(request)
            return refusal if refusal is not None else await handler(request)
        except web.HTTPException as error:
            return _refuse(error.status, error.reason)
        except ConnectionError:
            raise
        except Exception:
            logger.exception("a request failed")
            return _refuse(500, "Something went wrong here.")

    return guarded


def _remember(request: web.Request, token: str) -> web.Response:
    # A redirect, so that the token is gone from the address bar and from what is bookmarked.
    answer = web.Response(status=303, headers={"Location": "/"})
    answer.set_cookie(
        COOKIE, token, httponly=True, samesite="Strict", secure=request.secure, path="/"
    )
    return answer


async def add_headers(_: web.Request, response: web.StreamResponse) -> None:
    """Puts the security headers on an answer (a signal handler of aiohttp)."""
    response.headers.update(HEADERS)


def _refuse(status: int, words: str) -> web.Response:
    return web.Response(status=status, text=words + "\n")

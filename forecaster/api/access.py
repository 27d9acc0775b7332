"""Access: who asks, what that role may do, and how often."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass, field
from enum import IntEnum
from http.cookies import SimpleCookie
from urllib.parse import unquote

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from forecaster.api.problems import problem

TOKEN_COOKIE = "tidegate_token"
USER_HEADER = "x-tidegate-user"
"""Whom a client says it works for; nobody checks it."""
USER_MOST = 80
OPEN = re.compile(r"^/$|^/healthz$|^/readyz$|^/static/")
"""The empty page holds no secret; its reads carry the token that the user types, as a cookie."""
AUDIT = ("/v1/audit", "/v1/activity")
"""What says who changed what, and why."""


PUSH = re.compile(r"^/api/v1/write$|^/otlp/v1/(metrics|traces)$")
"""Where senders push load."""


class Role(IntEnum):
    """What a token may do; each may do what those before it may, but a viewer may not push."""

    PUSHER = 0
    """Push load, and nothing else: for the settings of senders."""
    VIEWER = 1
    """Read everything but the audit log."""
    OPERATOR = 2
    """Pins, answers to orders, the freeze, replays, the audit log."""
    ADMIN = 3
    """Also how far Tidegate is trusted: modes."""


@dataclass(frozen=True)
class Access:
    """Who may ask.

    Attributes
    ----------
    tokens : tuple of (str, Role)
        Secrets and what they may do; none: everybody who reaches the loopback address may do all.
    per_minute : int
        Requests of one caller a minute; 0 = any number.
    """

    tokens: tuple[tuple[str, Role], ...] = ()
    per_minute: int = 0
    digests: tuple[tuple[bytes, Role], ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        found = tuple((_digest(token), role) for token, role in self.tokens if token)
        object.__setattr__(self, "digests", found)

    def role_of(self, given: str) -> Role | None:
        """The role of a token; every known one is compared, in constant time."""
        if not self.digests:
            return Role.ADMIN
        digest, found = _digest(given), None
        for known, role in self.digests:
            if hmac.compare_digest(digest, known):
                found = role
        return found


def allowed(role: Role, method: str, path: str) -> bool:
    """Whether a role may do a request.

    Examples
    --------
    >>> allowed(Role.PUSHER, "POST", "/api/v1/write"), allowed(Role.VIEWER, "POST", "/api/v1/write")
    (True, False)
    """
    if role is Role.PUSHER:
        return method == "POST" and PUSH.match(path) is not None
    return role >= needed(method, path)


def needed(method: str, path: str) -> Role:
    """The least role for a request; a pusher may push as well.

    Examples
    --------
    >>> needed("GET", "/v1/services").name, needed("PUT", "/v1/services/chat/mode").name
    ('VIEWER', 'ADMIN')
    >>> needed("PUT", "/v1/freeze").name, needed("GET", "/v1/audit").name
    ('OPERATOR', 'OPERATOR')
    """
    if method in ("GET", "HEAD", "OPTIONS"):
        return Role.OPERATOR if path.rstrip("/") in AUDIT else Role.VIEWER
    return Role.ADMIN if path.rstrip("/").endswith("/mode") else Role.OPERATOR


class Gatekeeper:
    """Refuses who may not ask, or asks too often, before anything else is done."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app, self.access = app, access
        self.limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self.limit = RateLimitItemPerMinute(max(access.per_minute, 1))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request pass, or answer it."""
        if scope["type"] != "http" or OPEN.match(scope["path"]):
            await self.app(scope, receive, send)
            return
        given = given_token(Headers(scope=scope))
        role = self.access.role_of(given)
        caller = _digest(given).hex() if role and given else (scope.get("client") or ("?",))[0]
        if self.access.per_minute and not self.limiter.hit(self.limit, caller):
            # a Prometheus drops what is answered 429, and tries again after 503
            status = 503 if PUSH.match(scope["path"]) else 429
            await problem(status, "Busy", "too many requests a minute", "slow down", 10.0)(
                scope, receive, send
            )
            return
        method, path = scope["method"], scope["path"]
        if role is None:
            refusal = problem(
                401, "Token", "a bearer token is needed", "send Authorization: Bearer"
            )
            refusal.headers["WWW-Authenticate"] = "Bearer"
            await refusal(scope, receive, send)
        elif not allowed(role, method, path):
            wanted = needed(method, path)
            says = f"the role {role.name.lower()} may not do this, {wanted.name.lower()} may"
            await problem(403, "Role", says, "use another token")(scope, receive, send)
        else:
            scope.setdefault("state", {})["who"] = self._who(role, Headers(scope=scope))
            await self.app(scope, receive, send)

    def _who(self, role: Role, headers: Headers) -> str:
        """For the audit log: the role of the token, and the user that the client names."""
        known = f"{role.name.lower()} token" if self.access.digests else "no token"
        user = "".join(each for each in headers.get(USER_HEADER, "") if each.isprintable())
        return f"{known}, {user[:USER_MOST]}" if user else known


def given_token(headers: Headers) -> str:
    """The token of a request: the bearer's, else the dashboard's cookie."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme == "Bearer":
        return token
    cookies = SimpleCookie(headers.get("cookie", ""))
    return unquote(cookies[TOKEN_COOKIE].value) if TOKEN_COOKIE in cookies else ""


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()

"""The notifier: posts notices to webhooks; bounded time, bounded tries, no secret in any log line."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx

from forecaster.config.alerts import AlertsSettings, HookFormat
from forecaster.domain.alert import Alert, Notice
from forecaster.store import Store

log = logging.getLogger(__name__)
TRIES = 6
FIRST_AGAIN_S = 30.0
"""After each failed try twice as long, real seconds: the sixth is made a quarter of an hour after the first."""
AT_ONCE = 50


class Notifier:
    """Sends what is due.

    Parameters
    ----------
    store : Store
        Where notices wait.
    settings : AlertsSettings
        Webhooks and their format.
    speed : float
        Clock seconds per real second.
    """

    def __init__(self, store: Store, settings: AlertsSettings, speed: float = 1.0) -> None:
        self.store, self.speed = store, speed
        self.form, self.timeout_s = settings.format, settings.timeout_s
        self.hooks = {digest(url): url for url in secrets_of(settings)}

    def send_due(self, now_s: float) -> int:
        """Try every notice that is due; return how many were taken."""
        taken = 0
        for notice in self.store.alerts.due(now_s, TRIES, AT_ONCE):
            wait_s = FIRST_AGAIN_S * 2**notice.tries * self.speed
            self.store.alerts.trying(notice.notice_id, now_s + wait_s)
            url = self.hooks.get(notice.hook)
            if url is None:  # the webhook was taken out of the settings
                self.store.alerts.sent(notice.notice_id, now_s)
                continue
            error = post(url, body(notice, self.form), self.timeout_s, f"{notice.notice_id}")
            if error:
                log.warning("notice %d: %s", notice.notice_id, error)
                self.store.alerts.failed(notice.notice_id, error)
            else:
                self.store.alerts.sent(notice.notice_id, now_s)
                taken += 1
        return taken


def secrets_of(settings: AlertsSettings) -> list[str]:
    """Addresses of the webhooks: they are secrets."""
    return [each.get_secret_value() for each in settings.webhook]


def digest(url: str) -> str:
    """A name for a webhook that says nothing of its address."""
    return hashlib.sha256(url.encode()).hexdigest()[:16]


def post(url: str, content: Mapping[str, Any], timeout_s: float, key: str) -> str:
    """Post once; the reason where it was not taken. Neither path nor query of the address is said."""
    try:
        answer = httpx.post(
            url, json=dict(content), timeout=timeout_s, headers={"Idempotency-Key": key}
        )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return f"{_host(url)} did not answer: {type(error).__name__}"
    if answer.is_success:
        return ""
    return f"{_host(url)} answered {answer.status_code}"


def body(notice: Notice, form: HookFormat) -> dict[str, Any]:
    """What is posted."""
    alert = notice.alert
    if form is HookFormat.SLACK:
        sign = ":white_check_mark: resolved" if notice.event == "resolved" else ":rotating_light:"
        return {"text": f"{sign} *{alert.service}* {alert.kind.value}: {alert.text}"}
    return {
        "event": notice.event,
        "notice_id": notice.notice_id,
        **alert_dict(alert),
    }


def alert_dict(alert: Alert) -> dict[str, Any]:
    """One alert in plain values."""
    return {
        "alert_id": alert.alert_id,
        "kind": alert.kind.value,
        "service": alert.service,
        "text": alert.text,
        "urgent": alert.urgent,
        "opened_s": alert.opened_s,
        "seen_s": alert.seen_s,
        "resolved_s": alert.resolved_s,
    }


def try_all(
    urls: Sequence[str], form: HookFormat, timeout_s: float, say: Callable[[str], None]
) -> bool:
    """Post a test to every webhook; whether all of them took it."""
    content: dict[str, Any] = {"event": "test", "text": "a test of Tidegate's alerts"}
    if form is HookFormat.SLACK:
        content = {"text": content["text"]}
    kept = True
    for number, url in enumerate(urls, 1):
        error = post(url, content, timeout_s, f"test-{number}")
        say(f"webhook {number}: {error or f'{_host(url)} took it'}")
        kept &= not error
    return kept


def _host(url: str) -> str:
    return urlsplit(url).hostname or "the webhook"

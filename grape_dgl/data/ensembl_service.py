"""Questions to the Ensembl REST service over HTTP: polite, patient, and wary of what comes back."""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import BaseHTTPResponse
from urllib3.exceptions import InvalidHeader
from urllib3.util.retry import Retry

from grape_dgl.errors import DownloadError

log = logging.getLogger("grape_dgl")

RATE = 15.0
"""Requests per second: Ensembl allows an address 55,000 an hour."""
RETRIES = 6
"""Further attempts where the service is busy or fails, and where an answer arrives damaged."""
CONNECT_RETRIES = 3
BACKOFF = 1.0
"""Seconds; the waits double from retry to retry, and up to this much is added at random."""
LONGEST_WAIT = 3600.0
"""Seconds of a Retry-After that are waited at most: Ensembl counts requests by the hour."""
TIMEOUT = (10.0, 180.0)
"""Seconds to connect, and without a byte of the answer."""
SIZE = 512 << 20
"""Bytes of an answer at most: 50 genes of 2.5 million bases stay below a quarter of it."""


class Refused(DownloadError):
    """The service understood a question and says no (HTTP 400 or 404)."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class _Pace:
    """Lets at most RATE requests per second of this process pass."""

    def __init__(self) -> None:
        self._free = 0.0
        self._lock = threading.Lock()

    def wait(self) -> None:
        with self._lock:
            now = time.monotonic()
            self._free = max(now, self._free)
            time.sleep(self._free - now)
            self._free += 1 / RATE


_PACE = _Pace()


class _Retry(Retry):
    def parse_retry_after(self, retry_after: str) -> float:
        """Seconds. Ensembl sends fractions, which urllib3 takes for an invalid header; 0 where it cannot be read."""
        try:
            seconds = float(retry_after)
        except ValueError:
            try:
                seconds = super().parse_retry_after(retry_after)
            except InvalidHeader:
                seconds = 0.0
        seconds = min(seconds, LONGEST_WAIT) if seconds > 0 else 0.0
        if seconds > 10:
            log.warning("Ensembl asks to wait %.0f s", seconds)
        return seconds

    def sleep(self, response: BaseHTTPResponse | None = None) -> None:
        super().sleep(response)
        _PACE.wait()


class Service:
    """One Ensembl REST server, asked over a connection that is kept open."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session = requests.Session()
        self._session.headers.update(
            {
                "Accept": "application/json",
                "Content-Type": "application/json",
                "User-Agent": f"grape-dgl/{_version()}",
            }
        )
        retries = _Retry(
            total=RETRIES,
            connect=CONNECT_RETRIES,
            status_forcelist=(429, 500, 502, 503, 504),
            allowed_methods=None,  # all: our POSTs only ask
            backoff_factor=BACKOFF,
            backoff_jitter=BACKOFF,
            respect_retry_after_header=True,
            raise_on_status=False,
        )
        for scheme in ("https://", "http://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=retries))

    def close(self) -> None:
        self._session.close()

    def ask(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The JSON document that a GET, or a POST of ``body``, answers; asked again where it arrives damaged.

        Raises Refused with the service's reason, DownloadError for everything else that is no answer.
        """
        url, damage = f"{self._url}/{path}", ""
        for attempt in range(RETRIES + 1):
            if attempt:
                rest(attempt)
            _PACE.wait()
            try:
                response = self._session.request(
                    "GET" if body is None else "POST",
                    url,
                    json=body,
                    timeout=TIMEOUT,
                    stream=True,
                    allow_redirects=False,
                )
            except requests.RequestException as error:
                reason = getattr(error.args[0] if error.args else None, "reason", error)  # urllib3's, without its pool
                raise DownloadError(f"{self._url} cannot be reached: {_short(str(reason))}") from error
            with response:
                status = response.status_code
                if status not in (200, 400, 404):
                    raise DownloadError(
                        f"{url} answers {status} {response.reason}"
                        + (f" to {response.headers.get('Location', '?')}" if response.is_redirect else "")
                    )
                try:
                    document = json.loads(_content(url, response))
                except (requests.RequestException, ValueError, RecursionError) as error:
                    damage = _short(str(error))
                    continue
            if status == 200:
                return document
            reason = document.get("error") if isinstance(document, dict) else document
            raise Refused(f"{url} answers {status}: {_short(str(reason))}", status)
        raise DownloadError(f"{url} sent {RETRIES + 1} damaged answers, the last: {damage}")


def rest(attempt: int) -> None:
    """Sleep before the ``attempt``-th repetition of a question, as long as urllib3 would."""
    time.sleep(BACKOFF * (2 ** (attempt - 1) + random.random()))


def _content(url: str, response: requests.Response) -> bytes:
    """The unpacked body; DownloadError where it is larger than any answer should be."""
    content = bytearray()
    for chunk in response.iter_content(1 << 20):
        content += chunk
        if len(content) > SIZE:
            raise DownloadError(f"{url} sends more than {SIZE >> 20} MB; that is no answer of an Ensembl REST service")
    return bytes(content)


def _short(text: str) -> str:
    return " ".join(text.split())[:300]


def _version() -> str:
    try:
        return version("grape_dgl")
    except PackageNotFoundError:
        return "?"

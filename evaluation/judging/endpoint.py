"""A judge behind an OpenAI-compatible endpoint: llama.cpp's server, Ollama, vLLM and the like."""

from __future__ import annotations

import ipaddress
import json
import os
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, NoReturn

from mosear.evaluation.judging.judge import LONGEST, NoAnswerError
from mosear.runtime.errors import Failed, UsageError, one_line

if TYPE_CHECKING:
    import httpx

ATTEMPTS = 4
_PATH = "/chat/completions"
_VERDICT_TOKENS = 200
_LONGEST_WAIT_S = 60.0
_AGAIN = {408, 425, 429}  # and every 5xx
_THIS_PROMPT = {400, 408, 413, 422, 425, 429}
"""Status codes that may be about one prompt: too long, not to its taste, too many at once."""


class EndpointJudge:
    """See ``Judge``.

    Args:
        address: ``http://127.0.0.1:8080``, with or without ``/v1`` or ``/v1/chat/completions``.
        model: its name there.
        key_variable: the environment variable that holds the API key; no key is sent when None.
        allow_remote: permit an address that is not this machine's: the prompts describe people.
        timeout_s: seconds that an answer may take.
        attempts: how often an overloaded or failing server is asked.
        sleep: waits between attempts.

    Raises:
        UsageError: the address is none, is not this machine's and that is not permitted, holds a secret, or the
            variable is not set.
        Failed: httpx is not installed.
    """

    def __init__(
        self,
        address: str,
        model: str,
        key_variable: str | None = None,
        allow_remote: bool = False,
        timeout_s: float = 120.0,
        attempts: int = ATTEMPTS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        try:
            import httpx
        except ImportError as error:
            raise Failed(f"a judge behind an address needs httpx ({error})", "pip install 'mosear[eval]'") from error
        self._httpx = httpx
        url = _checked(httpx, address)
        local = _is_loopback(url.host)
        if not local and not allow_remote:
            raise UsageError(
                f"{url.host} is not this machine, and what a judge reads describes people",
                "use a judge on this machine (127.0.0.1), or permit a remote one if the clips' licence does",
            )
        self._key = _key(key_variable, url.scheme == "https" or local)
        self._url, self._model = url, model
        self._attempts, self._timeout_s, self._sleep = attempts, timeout_s, sleep
        self.identity = {"kind": "endpoint", "address": str(url), "model": model}
        # A proxy from the environment would carry to another machine what is meant for this one.
        self._client = httpx.Client(timeout=timeout_s, follow_redirects=False, trust_env=not local)

    def ask(self, prompt: str) -> str:
        """The content of the first choice, at temperature 0.

        Raises:
            NoAnswerError: it took too long, refused this prompt, kept failing, or answered in no known form.
            Failed: nothing answers there, or it refuses every prompt (no such model, no permission).
        """
        for attempt in range(self._attempts):
            last = attempt + 1 == self._attempts
            try:
                status, headers, body = self._post(prompt)
            except self._httpx.TimeoutException as error:
                raise NoAnswerError("the judge took too long") from error
            except self._httpx.HTTPError as error:
                if last:
                    self._give_up(error)
                self._sleep(2.0**attempt)
                continue
            if status == 200:
                return self._content(body)
            if (status not in _AGAIN and status < 500) or last:
                self._refuse(status)
            self._sleep(_wait_s(headers.get("retry-after"), 2.0**attempt))
        raise AssertionError("the last attempt returns or raises")

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _post(self, prompt: str) -> tuple[int, httpx.Headers, bytes]:
        content = {
            "model": self._model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": 0,
            "max_tokens": _VERDICT_TOKENS,
            "stream": False,
        }
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        until = time.monotonic() + self._timeout_s
        body = b""
        with self._client.stream("POST", self._url, json=content, headers=headers) as response:
            for part in response.iter_bytes():
                body += part
                # The client's own limit is on each read: a server that drips would never meet it.
                if time.monotonic() > until:
                    raise NoAnswerError("the judge took too long")
                if len(body) > LONGEST:
                    raise NoAnswerError("the answer is too long")
        return response.status_code, response.headers, body

    def _content(self, body: bytes) -> str:
        try:
            content: Any = json.loads(body)["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise NoAnswerError("the answer has not the form of a chat completion") from error
        if not isinstance(content, str):
            raise NoAnswerError("the answer has not the form of a chat completion")
        return content.replace(self._key, "…") if self._key else content

    def _give_up(self, error: Exception) -> NoReturn:
        if isinstance(error, self._httpx.ConnectError):
            why = one_line(error, 100)
            raise Failed(f"no judge can be reached at {self._url} ({why})", "start it, or check the address") from error
        raise NoAnswerError("the judge broke off the connection") from error

    def _refuse(self, status: int) -> NoReturn:
        if status in _THIS_PROMPT or status >= 500:
            raise NoAnswerError(f"the judge answered with status {status}")
        raise Failed(
            f"the judge at {self._url} refuses to answer (status {status})",
            f"check the address, the model's name ({self._model}) and the key",
        )


def _checked(httpx: Any, address: str) -> httpx.URL:
    try:
        url = httpx.URL(address)
    except (httpx.InvalidURL, ValueError) as error:
        raise UsageError(f"{address} is no address ({error})", "write it as http://127.0.0.1:8080") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise UsageError(f"{address} is no address of a judge", "write it as http://127.0.0.1:8080")
    # The address is kept with the verdicts.
    if url.userinfo or url.query or url.fragment:
        raise UsageError("the judge's address holds more than a place", "give a key in an environment variable")
    path = url.path.rstrip("/")
    if not path.endswith(_PATH):
        path += _PATH if path.endswith("/v1") else f"/v1{_PATH}"
    return url.copy_with(path=path)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _key(variable: str | None, private: bool) -> str | None:
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise UsageError(f"the environment variable {variable} holds no key", "set it, or name another")
    if not private:
        raise UsageError("a key would travel unencrypted to another machine", "use an address with https")
    return key


def _wait_s(told: str | None, otherwise: float) -> float:
    """What Retry-After says, in seconds or as a date (RFC 9110, 10.2.3), at most a minute."""
    if told is None:
        return otherwise
    try:
        seconds = float(told) if told.strip().isdecimal() else parsedate_to_datetime(told).timestamp() - time.time()
    except (ValueError, OverflowError):
        return otherwise
    return min(max(seconds, 0.0), _LONGEST_WAIT_S)

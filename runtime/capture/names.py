"""What is shown of a source: enough to know it by, and no secret."""

import re
from urllib.parse import urlsplit, urlunsplit

# Up to the last @ before the path: a password may hold an @ that was not escaped.
_CREDENTIALS = re.compile(r"(?<=://)[^/\s?#'\"]*@")


def shown_url(url: str) -> str:
    """``url`` without user and password; a query becomes ``?…``, since cameras take tokens and passwords there."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme.lower(), host, parts.path, "…" if parts.query else "", ""))


def without_credentials(text: str) -> str:
    """``text`` with user and password cut from every URL in it."""
    return _CREDENTIALS.sub("", text)


def shown_pipeline(pipeline: str) -> str:
    """The elements of a GStreamer pipeline without their properties, where addresses and passwords are."""
    return " ! ".join(element.split()[0].partition("=")[0] for element in pipeline.split("!") if element.strip())

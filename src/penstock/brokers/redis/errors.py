"""The driver's errors in Penstock's words: which of its many types means what to who called."""

from __future__ import annotations

from typing import Final

from redis import exceptions as driver

from penstock.errors import BrokerError, BrokerMisconfigured, BrokerRejected, BrokerUnavailable

# Answers of a server that another server, or this one a little later, would not give.
_PASSING: Final = (
    "GAP ",  # of enqueue.lua: said by us
    "LOADING",
    "MASTERDOWN",
    "READONLY",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "BUSY ",
    "UNKILLABLE",
    "max number of clients",
    "maxclients",
)
_WORDS: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (driver.ReadOnlyError, "READONLY"),
    (driver.BusyLoadingError, "LOADING"),
    (driver.MasterDownError, "MASTERDOWN"),
    (driver.ClusterDownError, "CLUSTERDOWN"),
    (driver.TryAgainError, "TRYAGAIN"),
    (driver.OutOfMemoryError, "OOM"),
    (driver.NoPermissionError, "NOPERM"),
)


def translated(error: BaseException, shown: str) -> BrokerError:
    """What ``error`` means for the caller.

    Args:
        error: From the driver, or from the socket below it.
        shown: The server's address without user and password.
    """
    if isinstance(error, BrokerError):
        return error
    text = _text(error)
    if isinstance(error, driver.AuthenticationError) or text.startswith(("WRONGPASS", "NOAUTH")):
        return BrokerMisconfigured(
            f"{shown}: the server refuses this user name or password; see the broker's URL"
        )
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return BrokerMisconfigured(
            f"{shown}: the server's certificate is not trusted here; name its authority's file with ?ssl_ca_certs=FILE"
        )
    if "DB index is out of range" in text:
        return BrokerMisconfigured(f"{shown}: the server has no database of this number; most have 0 to 15")
    if isinstance(error, driver.ResponseError) and not _passing(error, text):
        return BrokerRejected(f"{shown}: the server refused: {text}")
    if isinstance(error, (driver.TimeoutError, TimeoutError)):
        return BrokerUnavailable(f"{shown}: no answer in time")
    why = text.rstrip(".") or type(error).__name__
    return BrokerUnavailable(f"{shown}: not reached: {why}; is it running?")


def _passing(error: BaseException, text: str) -> bool:
    passing = (
        driver.ReadOnlyError,
        driver.ClusterDownError,
        driver.TryAgainError,
    )
    return isinstance(error, passing) or any(word in text for word in _PASSING)


def _text(error: BaseException) -> str:
    """The server's words; the driver takes the first of them off where it has a type for it."""
    text = str(error)
    for kind, word in _WORDS:
        if isinstance(error, kind) and not text.startswith(word):
            return f"{word} {text}"
    return text

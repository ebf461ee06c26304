"""Masks and keyed digests: what leaves a worker in a private value's place.

The salt is read from the environment and from nowhere else, by every process for itself (workers inherit
it); it is never passed on, logged or kept.  What is kept of it is a fingerprint, by which another salt is
noticed.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from xml_extractor.contract.plan import Hash, Mask, Plan
from xml_extractor.contract.types import Family, SqlType, Value
from xml_extractor.errors import UsageError
from xml_extractor.mapping.numbers import XML_BLANKS

SALT_VARIABLE: Final = "XML_EXTRACTOR_HASH_SALT"
SHORTEST_SALT: Final = 16
"""Characters.  A shorter one could be found by trying, and with it the values behind short codes."""

_FINGERPRINT_OF: Final = b"xml_extractor: the fingerprint of a salt"
_FINGERPRINT_BYTES: Final = 4  # enough to notice another salt by accident, too little to look it up by


def hash_salt() -> bytes:
    """Return the salt of this process.

    Raises:
        UsageError: there is none, or it is too short to keep a secret.
    """
    salt = os.environ.get(SALT_VARIABLE, "")
    if not salt:
        raise UsageError(
            f"the contract hashes columns, and there is no salt: put one into the environment variable "
            f"{SALT_VARIABLE} ({SHORTEST_SALT} characters or more, kept secret, the same for every load)"
        )
    if len(salt) < SHORTEST_SALT:
        raise UsageError(
            f"{SALT_VARIABLE} has {len(salt)} characters; a salt that cannot be guessed has "
            f"{SHORTEST_SALT} or more"
        )
    return salt.encode("utf-8", "surrogateescape")


def salt_fingerprint(plan: Plan) -> str | None:
    """Return a few hex digits by which another salt is noticed; ``None`` where the plan needs no salt.

    Raises:
        UsageError: the plan needs a salt, and there is none that can be used.
    """
    if not plan.hashes:
        return None
    return hmac.digest(hash_salt(), _FINGERPRINT_OF, "sha256")[:_FINGERPRINT_BYTES].hex()


def salted(plan: Plan) -> Plan:
    """Return the plan with a digest that covers the salt, too: another salt makes other rows.

    The digest of a plan that hashes nothing stays as it is.

    Raises:
        UsageError: the plan needs a salt, and there is none that can be used.
    """
    fingerprint = salt_fingerprint(plan)
    if fingerprint is None:
        return plan
    return replace(plan, digest=hashlib.sha256(f"{plan.digest} {fingerprint}".encode("ascii")).hexdigest())


def protected(
    protection: Mask | Hash, sql_type: SqlType, convert: Callable[[str], Value]
) -> Callable[[str], Value]:
    """Put a protection in front of the conversion to a column's type.  Blanks alone are no value.

    Raises:
        UsageError: a hash is asked for, and there is no salt that can be used.
    """
    if isinstance(protection, Mask):
        return _masked(protection, convert)
    digest = hasher(protection)
    if sql_type.family is Family.BINARY:

        def hash_to_bytes(text: str) -> Value:
            private = text.strip(XML_BLANKS)
            # Half of a surrogate pair, which a source column may hold, must not stop the others.
            return digest(private.encode("utf-8", "surrogatepass")) if private else None

        return hash_to_bytes

    def hash_to_hex(text: str) -> Value:
        private = text.strip(XML_BLANKS)
        return convert(digest(private.encode("utf-8", "surrogatepass")).hex()) if private else None

    return hash_to_hex


def hasher(protection: Hash) -> Callable[[bytes], bytes]:
    """Return the function from a value's bytes to its keyed digest.

    Raises:
        UsageError: there is no salt that can be used.
    """
    salt, size = hash_salt(), protection.size_bytes

    def digest(value: bytes) -> bytes:
        return hmac.digest(salt, value, "sha256")[:size]

    return digest


def _masked(mask: Mask, convert: Callable[[str], Value]) -> Callable[[str], Value]:
    hidden = "*" * mask.count
    # At most half of a value is shown: of a short one, the few characters would be nearly all.
    shortest = 2 * mask.count
    shown = {
        "first": slice(None, mask.count),
        "last": slice(-mask.count, None),
        "none": slice(0, 0),
    }[mask.keep]

    def mask_and_convert(text: str) -> Value:
        private = text.strip(XML_BLANKS)
        if not private:
            return None
        return convert((private[shown] or hidden) if len(private) >= shortest else hidden)

    return mask_and_convert

"""Signed links to attachments: whoever has one may read or fill one attachment for ten minutes.

Browsers load previews and send bytes without the headers of ChatKit's requests, so the link itself
has to carry the right. It names a purpose, so that who may see an image cannot replace it.
"""

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from typing import Literal

from session_service.errors import AttachmentNotFound

Purpose = Literal["upload", "read"]

LIFETIME_SECONDS = 600

_LABEL = b"chatkit-backend attachment links, version 1"


def link_key(api_key: str | None) -> bytes:
    """Returns the key of links: the same in each replica, as each has the same OPENAI_API_KEY.

    It says nothing of that. Without one, links are good in this process alone.
    """
    if not api_key:
        return secrets.token_bytes(32)
    return hmac.digest(api_key.encode(), _LABEL, hashlib.sha256)


@dataclass(frozen=True, slots=True)
class Link:
    """What a browser hands back to us."""

    attachment_id: str
    expires_at: int
    """Unix seconds."""
    signature: str = field(repr=False)

    def url(self, base_url: str) -> str:
        """Returns the link as browsers get it; the gateway's route takes it apart again."""
        query = f"expires={self.expires_at}&signature={self.signature}"
        return f"{base_url.rstrip('/')}/api/chatkit/attachments/{self.attachment_id}?{query}"


class Links:
    """Makes links and checks them. Times are Unix seconds."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def link(self, purpose: Purpose, attachment_id: str, now: float) -> Link:
        """Returns a link that is good for ten minutes."""
        expires_at = int(now) + LIFETIME_SECONDS
        return Link(attachment_id, expires_at, self._signature(purpose, attachment_id, expires_at))

    def check(self, purpose: Purpose, link: Link, now: float) -> None:
        """Raises AttachmentNotFound for what is none of our links, or no longer."""
        expected = self._signature(purpose, link.attachment_id, link.expires_at)
        # As bytes: compare_digest takes no other text than ASCII.
        fits = hmac.compare_digest(expected.encode(), link.signature.encode())
        if not fits or now >= link.expires_at:
            raise AttachmentNotFound

    def _signature(self, purpose: Purpose, attachment_id: str, expires_at: int) -> str:
        # The id is last, so that no part can be taken for another.
        signed = f"{purpose}\n{expires_at}\n{attachment_id}".encode()
        digest = hmac.digest(self._key, signed, hashlib.sha256)
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")

"""Links to attachments: what opens one, and what does not."""

from dataclasses import replace

import pytest

from session_service.conversation.links import LIFETIME_SECONDS, Link, Links, link_key
from session_service.errors import AttachmentNotFound
from tests.attachment_examples import BASE_URL, link_of

NOW = 1_800_000_000.9
LINKS = Links(link_key("sk-a"))
LINK = LINKS.link("upload", "atc_1", NOW)


def opens(links: Links, link: Link, purpose: str = "upload", now: float = NOW) -> bool:
    assert purpose in ("upload", "read")
    try:
        links.check("upload" if purpose == "upload" else "read", link, now)
    except AttachmentNotFound:
        return False
    return True


def test_a_link_is_good_for_ten_minutes() -> None:
    assert LINK.expires_at == int(NOW) + 600
    assert opens(LINKS, LINK)
    assert opens(LINKS, LINK, now=LINK.expires_at - 0.1)
    assert not opens(LINKS, LINK, now=LINK.expires_at)


def test_a_link_is_good_for_its_purpose_alone() -> None:
    assert not opens(LINKS, LINK, "read")
    assert opens(LINKS, LINKS.link("read", "atc_1", NOW), "read")


@pytest.mark.parametrize(
    "change",
    [
        {"attachment_id": "atc_2"},
        {"attachment_id": "1\natc_1"},
        {"expires_at": LINK.expires_at + 1},
        {"expires_at": -1},
        {"signature": ""},
        {"signature": LINK.signature[:-1]},
        {"signature": LINK.signature + "="},
        {"signature": LINK.signature.swapcase()},
        {"signature": "ñ"},
    ],
)
def test_a_link_that_was_changed_is_none(change: dict[str, object]) -> None:
    changed: Link = replace(LINK, **change)  # type: ignore[arg-type]
    assert not opens(LINKS, changed)


def test_replicas_with_the_same_key_take_each_others_links() -> None:
    assert opens(Links(link_key("sk-a")), LINK)
    assert not opens(Links(link_key("sk-b")), LINK)


def test_without_a_key_links_are_good_in_one_process() -> None:
    links = Links(link_key(None))
    assert opens(links, links.link("upload", "atc_1", NOW))
    assert link_key("") != link_key("")


def test_the_key_of_links_does_not_tell_openais() -> None:
    assert b"sk-a" not in link_key("sk-a")
    assert LINK.signature not in repr(LINK)


def test_a_url_has_all_parts_of_the_link() -> None:
    url = LINK.url(f"{BASE_URL}/")
    assert url.startswith(f"{BASE_URL}/api/chatkit/attachments/atc_1?expires={LINK.expires_at}&")
    assert link_of(url) == LINK
    assert LIFETIME_SECONDS == 600

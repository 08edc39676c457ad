"""Fixtures of the self-hosted mode: a real service, real gRPC, OpenAI emulated."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from session_service.config import Settings
from tests.integration.conversation.chat import Chat, open_chat
from tests.support import Emulator, settings_for


@pytest.fixture
def settings(emulator: Emulator, tmp_path: Path) -> Callable[..., Settings]:
    """Makes settings of the self-hosted mode, without a rate limit."""

    def make(**others: Any) -> Settings:
        values: dict[str, Any] = {
            "openai_base_url": emulator.url,
            "chatkit_mode": "self_hosted",
            "openai_chatkit_workflow_id": None,
            "chatkit_attachments_dir": tmp_path / "attachments",
            "chatkit_requests_per_minute": 0,
            **others,
        }
        return settings_for(tmp_path, **values)

    return make


@pytest.fixture
async def chat(settings: Callable[..., Settings], emulator: Emulator) -> AsyncIterator[Chat]:
    """A session of user 7, whose model answers as fast as it can."""
    await emulator.answers(pause_seconds=0)
    async with open_chat(settings()) as running:
        yield running

"""The emulator's models: those that there are, and those that there are not."""

import openai
import pytest
from openai import AsyncOpenAI

from tests.integration.emulator.conftest import sdk


async def test_a_model_can_be_retrieved(client: AsyncOpenAI) -> None:
    model = await client.models.retrieve("gpt-5-mini")
    assert (model.id, model.object) == ("gpt-5-mini", "model")


async def test_a_missing_model_is_not_found(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await client.models.retrieve("gpt-missing-1")
    assert caught.value.code == "model_not_found"


async def test_models_are_for_those_with_a_key(base_url: str) -> None:
    async with sdk(base_url, "sk-wrong") as client:
        with pytest.raises(openai.AuthenticationError):
            await client.models.retrieve("gpt-5-mini")

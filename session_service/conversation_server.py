"""Wires the self-hosted mode together; imported in that mode alone, as the SDKs take 100 MB."""

import asyncio
import contextlib
from dataclasses import dataclass

import grpc
import openai

from protos.chatkit.v1 import conversation_service_pb2, conversation_service_pb2_grpc
from session_service.cancellations import Cancellations
from session_service.circuit import Circuit, patience_seconds
from session_service.config import Settings
from session_service.conversation import workarounds
from session_service.conversation.agent import (
    AgentSettings,
    ModelProvider,
    create_agent,
)
from session_service.conversation.attachment_files import open_attachment_files
from session_service.conversation.attachments import Attachments
from session_service.conversation.chat_server import ChatServer
from session_service.conversation.conversations import Conversations
from session_service.conversation.housekeeping import Housekeeping
from session_service.conversation.http_client import HTTPClient
from session_service.conversation.links import Links, link_key
from session_service.conversation.openai_files import OpenAIFiles
from session_service.conversation_servicer import ConversationServicer
from session_service.sessions import Sessions
from session_service.stores.base import Store
from session_service.streams import Streams

_CONNECT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class ConversationServer:
    """What the self-hosted mode adds to the session service."""

    name: str
    """Of the service, for health and reflection."""
    housekeeping: Housekeeping
    circuits: tuple[Circuit, ...]
    """Of the APIs that it asks."""
    _servicer: ConversationServicer

    def add_to(self, server: grpc.aio.Server) -> None:
        conversation_service_pb2_grpc.add_ConversationServiceServicer_to_server(
            self._servicer, server
        )


async def open_conversations(
    settings: Settings,
    sessions: Sessions,
    store: Store,
    streams: Streams,
    cancellations: Cancellations,
    stack: contextlib.AsyncExitStack,
) -> ConversationServer:
    """Opens it until the stack is closed. Raises BadAgent and OSError."""
    workarounds.apply()
    api_key = settings.openai_api_key.get_secret_value().strip() if settings.openai_api_key else ""
    client = await stack.enter_async_context(
        workarounds.Client(
            api_key=api_key or "missing",  # then there are no sessions that could ask
            base_url=settings.openai_base_url,
            max_retries=0,  # see `retries`
            timeout=openai.Timeout(settings.chatkit_timeout_seconds, connect=_CONNECT_SECONDS),
            http_client=HTTPClient(),
        )
    )
    patience = patience_seconds(settings.chatkit_timeout_seconds)
    files, responses = Circuit("files", patience), Circuit("responses", patience)
    attachments = Attachments(
        store.conversations,
        await stack.enter_async_context(open_attachment_files(settings.chatkit_attachments_dir)),
        Links(link_key(api_key)),
        int(settings.chatkit_attachment_max_mb * 1024 * 1024),
        OpenAIFiles(client, files, settings.chatkit_timeout_seconds),
        allowed="file_upload" in settings.chatkit_tools,
    )
    agent = await asyncio.to_thread(
        create_agent,
        AgentSettings(
            model=settings.chatkit_model,
            system_message=settings.chatkit_system_message,
            tools=settings.chatkit_tools,
            vector_store_ids=settings.openai_vector_store_ids,
            import_path=settings.chatkit_agent,
        ),
    )
    models = ModelProvider(client, responses, settings.chatkit_model)
    conversations = Conversations(
        sessions,
        store.conversations,
        ChatServer(store.conversations, attachments, agent, models),
        attachments,
        streams,
        cancellations,
        answers=store.rate_limit("answers", settings.chatkit_requests_per_minute),
        uploads=store.rate_limit("uploads", settings.chatkit_requests_per_minute),
        max_messages=settings.chatkit_max_messages,
        timeout_seconds=settings.chatkit_timeout_seconds,
    )
    return ConversationServer(
        conversation_service_pb2.DESCRIPTOR.services_by_name["ConversationService"].full_name,
        Housekeeping(store.conversations, attachments, settings.chatkit_retention_days),
        (files, responses),
        ConversationServicer(conversations, attachments),
    )

"""The examples of the API's documentation: one user's day, told by requests and answers."""

from typing import Any, TypeAlias

from runtime.checklist_remedies import EXPLANATIONS

JSON: TypeAlias = dict[str, Any]

SESSION_ID = "cksess_68f1c0a2b7d48190a1b2c3d4"
REQUEST_ID = "5f0c8b6e2a9d4c1f8e7b3a6d9c2f1e40"
_CLIENT_SECRET = "ek_68f1c0a2b7d48190a1b2c3d4_Zk3vQ9pXwL2n"
_NEXT_CLIENT_SECRET = "ek_68f1c2e4d9a08190b7c6d5e4_Qm8cT4jYdN6f"
_WORKFLOW_ID = "wf_68e5a1f09b3c8190a7d2e4c6"
_CREATED_AT = 1795338000  # 2026-11-22T09:00:00Z
ATTACHMENT_ID = "atc_9f2c4e7a1b6d4830a5c8e0f3"
LINK_EXPIRES_AT = _CREATED_AT + 300
LINK_SIGNATURE = "pQ3x7Wd2mZk9LrT5vYb8NcF1"

DASHBOARD_REQUEST: JSON = {
    "userId": 7,
    "username": "user7",
    "email": "user7@example.com",
    "role": "admin",
    "userContext": {
        "permissions": {
            "serviceManagement": True,
            "automaticAIDisableRules": False,
            "webhookConfiguration": True,
            "ticketControl": True,
            "aiEnabledProjects": True,
            "remoteServerIntegration": False,
        },
        "lastLogin": "2026-11-20T09:15:00.000Z",
        "isInitialSetupComplete": True,
    },
}
"""What the dashboard in production sends, verbatim."""

REFRESH_REQUEST: JSON = {"existingSecret": _CLIENT_SECRET, "userId": 7}

ISSUED: JSON = {
    "session_id": SESSION_ID,
    "client_secret": _CLIENT_SECRET,
    "expires_at": _CREATED_AT + 600,
    "user_id": "7",
    "mode": "hosted",
    "workflow_id": _WORKFLOW_ID,
}

REFRESHED: JSON = {
    **ISSUED,
    "session_id": "cksess_68f1c2e4d9a08190b7c6d5e4",
    "client_secret": _NEXT_CLIENT_SECRET,
    "expires_at": _CREATED_AT + 1140,
}

SESSION: JSON = {
    "id": SESSION_ID,
    "status": "refreshed",
    "user_id": "7",
    "mode": "hosted",
    "workflow_id": _WORKFLOW_ID,
    "created_at": _CREATED_AT,
    "expires_at": _CREATED_AT + 600,
    "refreshed_to": REFRESHED["session_id"],
}

PAGE_TOKEN = "MTc5NTMzODAwMDAwMCBja3Nlc3NfNjhmMWMwYTJiN2Q0ODE5MGExYjJjM2Q0"

SESSIONS: JSON = {"sessions": [SESSION], "nextPageToken": PAGE_TOKEN}

ME: JSON = {"userId": "7", "administrator": False, "expiresAt": _CREATED_AT + 3600}

DELETED: JSON = {"id": SESSION_ID, "status": "deleted"}

STATS: JSON = {
    "totalSessions": 42,
    "totalMessages": 318,
    "lastActivity": "2026-11-22T09:08:31.204Z",
    "averageSessionDuration": 512.4,
    "activeSessions": 1,
    "sessionsToday": 2,
    "messagesToday": 11,
    "refreshes": 67,
    "deletedSessions": 5,
    "failures": 1,
    "messagesUpdatedAt": "2026-11-22T09:09:00.000Z",
    "turns": 40,
    "failedTurns": 1,
    "inputTokens": 51_204,
    "outputTokens": 9_876,
    "estimatedTurns": 2,
    "toolCalls": 12,
    "answerTime": {"p50": 2.8166, "p95": 8.4046},
    "failuresByReason": {"UPSTREAM_TIMEOUT": 2},
    "daily": [
        {
            "date": "2026-11-21",
            "sessions": 3,
            "messages": 24,
            "refreshes": 4,
            "failures": 0,
            "turns": 12,
            "failedTurns": 1,
            "inputTokens": 15_310,
            "outputTokens": 2_940,
            "toolCalls": 4,
            "answerTime": {"p50": 2.3472, "p95": 7.0039},
            "failuresByReason": {"UPSTREAM_TIMEOUT": 1},
        },
        {
            "date": "2026-11-22",
            "sessions": 2,
            "messages": 11,
            "refreshes": 3,
            "failures": 0,
            "turns": 5,
            "failedTurns": 0,
            "inputTokens": 6_120,
            "outputTokens": 1_004,
            "toolCalls": 1,
            "answerTime": {"p50": 2.8166, "p95": 4.867},
            "failuresByReason": {},
        },
    ],
}

WATCHED = """\
event: stats
data: {"totalSessions":42,"totalMessages":318,"activeSessions":1,"sessionsToday":2}

: still here

event: error
data: {"success":false,"error":"Tu sesión en el dashboard ha caducado.","code":"UNAUTHENTICATED"}

"""
"""Of a stream of statistics, with a little of what each event says."""

_NOTHING: JSON = {"answerTime": None, "failuresByReason": {}}

NEW_STATS: JSON = {
    **dict.fromkeys(STATS, 0),
    **_NOTHING,
    "lastActivity": None,
    "messagesUpdatedAt": None,
    "daily": [{**dict.fromkeys(day, 0), **_NOTHING, "date": day["date"]} for day in STATS["daily"]],
}
"""Of a user with whom nothing has happened yet."""

_FAILED_CHECK: JSON = {
    "name": "openai.key",
    "state": "failed",
    "title": "Clave de OpenAI",
}

NAMED_CHECKS: JSON = {"mode": "hosted", "state": "failed", "checks": [_FAILED_CHECK]}

CHECKS: JSON = {
    **NAMED_CHECKS,
    "checks": [
        {
            **_FAILED_CHECK,
            "cause": "malformed",
            "remedy": EXPLANATIONS["openai.key.malformed"].es,
            "details": {},
        }
    ],
}

CHAT_REQUEST: JSON = {
    "type": "threads.create",
    "params": {
        "input": {
            "content": [{"type": "input_text", "text": "Hola"}],
            "attachments": [],
            "inference_options": {},
        }
    },
}

LIST_THREADS_REQUEST: JSON = {"type": "threads.list", "params": {"limit": 20}}

CHAT_EVENTS = """\
data: {"type":"thread.created","thread":{"id":"thr_4c1e","status":{"type":"active"}}}

data: {"type":"thread.item.done","item":{"id":"msg_1a","type":"user_message"}}

data: {"type":"thread.item.updated","item_id":"msg_2b","update":{"type":\
"assistant_message.content_part.text_delta","content_index":0,"delta":"¡Hola!"}}

data: {"type":"thread.item.done","item":{"id":"msg_2b","type":"assistant_message"}}

"""
"""Of an answer to a first message, with what matters here of each event."""

THREADS: JSON = {
    "data": [{"id": "thr_4c1e", "title": "Saludo", "status": {"type": "active"}}],
    "has_more": False,
    "after": None,
}

ATTACHMENT: JSON = {
    "type": "file",
    "id": ATTACHMENT_ID,
    "name": "informe.pdf",
    "mime_type": "application/pdf",
}

"""Nobody ever sees, refreshes, deletes or counts what is not theirs, in either mode."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, TypeVar

import httpx
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.attachment_examples import PNG
from tests.gateway_support import CHAT, REFRESH, SESSION, STATS, error_of
from tests.integration.conversation.chat import message
from tests.integration.ownership import (
    LIFETIME_SECONDS,
    PEOPLE,
    Chain,
    File,
    Model,
    Person,
    Session,
    System,
    Thread,
    as_seen,
    data_of,
    link_of,
    thread_id_of,
)

Found = TypeVar("Found")

HOUR = 60 * 60
NOBODY = "nobody"
"""In the place of a token or a client secret."""
UPSTREAM = {
    "WORKFLOW_NOT_FOUND": (503, {"status": 404}),
    "INVALID_API_KEY": (503, {"status": 401}),
    "UPSTREAM_REJECTED": (502, {"status": 400}),
}

people = st.sampled_from(PEOPLE)
named = st.none() | st.sampled_from([person.name for person in PEOPLE])
lifetimes = st.sampled_from([LIFETIME_SECONDS] * 4 + [-1, -23 * HOUR, -25 * HOUR])
picks = st.integers(0, 1000)
"""Which of the things there are is meant; every seventh is one that there never was."""


def pick(things: Sequence[Found], number: int) -> Found | None:
    return things[number % len(things)] if things and number % 7 else None


class Hosted(RuleBasedStateMachine):
    """Sessions and statistics, which both modes have."""

    mode = "hosted"

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.resources = ExitStack()
        self.system = self.resources.enter_context(System(self.mode))

    def teardown(self) -> None:
        try:
            for person in PEOPLE:
                self.statistics(person, None)
        finally:
            self.resources.close()

    @initialize()
    def somebody_has_something(self) -> None:
        for who in (PEOPLE[0], PEOPLE[2], PEOPLE[-1]):
            self.create(who, None, LIFETIME_SECONDS)

    @rule(who=people, whom=named, lifetime=lifetimes)
    def create(self, who: Person, whom: int | str | None, lifetime: int) -> None:
        self.system.set_lifetime(lifetime)
        answer = self.system.call(who.token, "POST", SESSION, json=body_of(whom))
        user = self.effective_user(who, whom, answer)
        if user is not None:
            self.issued(answer, Chain(user), lifetime)

    @rule(who=people, which=picks, whom=named, lifetime=lifetimes)
    def refresh(self, who: Person, which: int, whom: int | str | None, lifetime: int) -> None:
        session = pick(self.model.sessions, which)
        secret = session.secret if session else "cksec_never-given-out-0123456789"
        self.system.set_lifetime(lifetime)
        body = body_of(whom, existingSecret=secret)
        answer = self.system.call(who.token, "POST", REFRESH, json=body)
        user = self.effective_user(who, whom, answer)
        if user is None:
            return
        if session is None or session.chain.user != user:
            never = body_of(whom, existingSecret="cksec_never-given-out-9876543210")
            self.is_not_there(answer, self.system.call(who.token, "POST", REFRESH, json=never))
        elif session.chain.deleted:
            error_of(answer, "SESSION_DELETED", 410)
        elif session.lifetime < -24 * HOUR:
            error_of(answer, "SESSION_NOT_FOUND", 404)
        else:
            self.issued(answer, session.chain, lifetime, session)

    @rule(who=people, which=picks)
    def get(self, who: Person, which: int) -> None:
        session = pick(self.model.sessions, which)
        answer = self.ask_for(who, "GET", session)
        if session is None or session.chain.user != who.id:
            self.is_not_there(answer, self.ask_for(who, "GET", None))
            return
        data = data_of(answer)
        seen = {name: data.get(name) for name in ("id", "user_id", "status", "refreshed_from")}
        assert seen == {
            "id": session.id,
            "user_id": who.id,
            "status": session.status,
            "refreshed_from": session.refreshed_from,
        }
        assert data.get("refreshed_to") == session.refreshed_to
        assert not any(known.secret in answer.text for known in self.model.sessions)

    @rule(who=people, which=picks)
    def delete(self, who: Person, which: int) -> None:
        session = pick(self.model.sessions, which)
        answer = self.ask_for(who, "DELETE", session)
        if session is None or session.chain.user != who.id:
            self.is_not_there(answer, self.ask_for(who, "DELETE", None))
            return
        assert data_of(answer) == {"id": session.id, "status": "deleted"}
        self.model.delete(session)

    @rule(who=people, whom=named)
    def statistics(self, who: Person, whom: int | str | None) -> None:
        query = {"days": 2, **({} if whom is None else {"userId": str(whom)})}
        answer = self.system.call(who.token, "GET", STATS, params=query)
        user = self.effective_user(who, whom, answer)
        if user is None:
            return
        expected = self.model.statistics(None if whom is None and who.is_admin else user)
        data = data_of(answer)
        assert {name: data[name] for name in expected} == expected
        # Of two days, should it be midnight just now.
        by_day = {"sessions": "totalSessions", "refreshes": "refreshes", "failures": "failures"}
        by_day |= {"messages": "totalMessages", "turns": "turns"}
        for name, total in by_day.items():
            assert sum(day[name] for day in data["daily"]) == expected[total]

    def ask_for(self, who: Person, method: str, session: Session | None) -> httpx.Response:
        session_id = session.id if session else "cksess_0123456789abcdef0123456789abcdef"
        return self.system.call(who.token, method, f"{SESSION}/{session_id}")

    def issued(
        self, answer: httpx.Response, chain: Chain, lifetime: int, old: Session | None = None
    ) -> None:
        data = data_of(answer)
        assert (data["user_id"], data["mode"]) == (chain.user, self.mode)
        assert not any(known.id == data["session_id"] for known in self.model.sessions)
        session = Session(data["session_id"], data["client_secret"], chain, lifetime)
        session.refreshed_from = old.id if old else None
        self.model.issued(session)

    def effective_user(
        self, who: Person, whom: int | str | None, answer: httpx.Response
    ) -> str | None:
        """Returns for whom this is; None where it must not be, and is not."""
        user = who.id if whom is None else str(whom)
        if user == who.id or who.is_admin:
            return user
        error_of(answer, "PERMISSION_DENIED", 403)
        return None

    def is_not_there(
        self, answer: httpx.Response, never: httpx.Response, reason: str = "SESSION_NOT_FOUND"
    ) -> None:
        error_of(answer, reason, 404)
        assert as_seen(answer) == as_seen(never)


class HostedWithFailures(Hosted):
    """OpenAI refuses now and then, which counts where it was asked for."""

    @rule(who=people, whom=named, reason=st.sampled_from(sorted(UPSTREAM)))
    def create_in_vain(self, who: Person, whom: int | str | None, reason: str) -> None:
        if whom is not None and str(whom) != who.id and not who.is_admin:
            return
        status, failure = UPSTREAM[reason]
        self.system.fail(**failure)
        answer = self.system.call(who.token, "POST", SESSION, json=body_of(whom))
        error_of(answer, reason, status)
        self.model.count(who.id if whom is None else str(whom), "failures")


class SelfHosted(Hosted):
    """Conversations as well, which belong to whoever's session began them."""

    mode = "self_hosted"

    @initialize()
    def somebody_has_something(self) -> None:
        for who in (PEOPLE[0], PEOPLE[2], PEOPLE[-1]):
            self.create(who, None, LIFETIME_SECONDS)
        for session in range(1, 3):
            self.begin(session)
            self.upload(session)

    @rule(which=picks)
    def begin(self, which: int) -> None:
        session = pick(self.model.sessions, which)
        answer = self.chat(session, "threads.create", input=message("Hola"))
        if self.may_chat(session, answer):
            assert session is not None
            thread = Thread(thread_id_of(answer), session.chain.user)
            self.model.threads.append(thread)
            self.answered(session, thread, messages=2)

    @rule(
        which=picks,
        where=picks,
        what=st.sampled_from(
            [
                "threads.get_by_id",
                "items.list",
                "threads.update",
                "threads.delete",
                "threads.add_user_message",
                "threads.retry_after_item",
                "items.feedback",
            ]
        ),
    )
    def use(self, which: int, where: int, what: str) -> None:
        session, thread = pick(self.model.sessions, which), pick(self.model.threads, where)
        answer = self.chat(session, what, **parameters(what, thread))
        if not self.may_chat(session, answer):
            return
        assert session is not None
        if thread is None or thread.user != session.chain.user:
            never = self.chat(session, what, **parameters(what, None))
            self.is_not_there(answer, never, "THREAD_NOT_FOUND")
            return
        assert answer.status_code == 200, answer.text
        match what:
            case "threads.get_by_id":
                assert answer.json()["id"] == thread.id
            case "items.list":
                assert [item["id"] for item in answer.json()["data"]] == thread.items
            case "threads.delete":
                self.model.threads.remove(thread)
            case "threads.add_user_message":
                self.answered(session, thread, messages=2)
            case "threads.retry_after_item":
                del thread.items[1:]
                self.answered(session, thread, messages=1)

    @rule(which=picks)
    def list(self, which: int) -> None:
        session = pick(self.model.sessions, which)
        answer = self.chat(session, "threads.list", limit=100, order="asc")
        if self.may_chat(session, answer):
            assert session is not None
            mine = [t.id for t in self.model.threads if t.user == session.chain.user]
            assert sorted(thread["id"] for thread in answer.json()["data"]) == sorted(mine)

    @rule(which=picks)
    def upload(self, which: int) -> None:
        session = pick(self.model.sessions, which)
        files = {"file": ("a.png", PNG, "image/png")}
        answer = self.system.call(secret_of(session), "POST", f"{CHAT}/attachments", files=files)
        if self.may_chat(session, answer):
            assert session is not None
            shown = answer.json()
            file = File(shown["id"], session.chain.user, link_of(shown["preview_url"]))
            self.model.files.append(file)

    @rule(which=picks, what=picks)
    def send(self, which: int, what: int) -> None:
        session, file = pick(self.model.sessions, which), pick(self.model.files, what)
        if file is not None and session is not None and file.user == session.chain.user:
            return
        sent = message("Mira", file.id if file else "atc_0")
        answer = self.chat(session, "threads.create", input=sent)
        if self.may_chat(session, answer):
            never = self.chat(session, "threads.create", input=message("Mira", "atc_1"))
            self.is_not_there(answer, never, "ATTACHMENT_NOT_FOUND")

    @rule(which=picks, what=picks)
    def detach(self, which: int, what: int) -> None:
        session, file = pick(self.model.sessions, which), pick(self.model.files, what)
        file_id = file.id if file else "atc_0"
        answer = self.chat(session, "attachments.delete", attachment_id=file_id)
        if not self.may_chat(session, answer):
            return
        assert session is not None
        if file is None or file.user != session.chain.user:
            never = self.chat(session, "attachments.delete", attachment_id="atc_1")
            self.is_not_there(answer, never, "ATTACHMENT_NOT_FOUND")
            return
        assert answer.status_code == 200, answer.text
        self.model.files.remove(file)
        never = self.system.call(NOBODY, "GET", f"{CHAT}/attachments/atc_1?expires=1&signature=a")
        gone = self.system.call(NOBODY, "GET", file.link)
        self.is_not_there(gone, never, "ATTACHMENT_NOT_FOUND")

    @rule(what=picks, other=picks)
    def read(self, what: int, other: int) -> None:
        file, wanted = pick(self.model.files, what), pick(self.model.files, other)
        if file is None:
            return
        answer = self.system.call(NOBODY, "GET", file.link)
        assert (answer.status_code, answer.content) == (200, PNG)
        if wanted is not None and wanted is not file:
            _, _, right = file.link.partition("?")
            wrong = f"{wanted.link.partition('?')[0]}?{right}"
            never = self.system.call(NOBODY, "GET", f"{CHAT}/attachments/atc_1?{right}")
            self.is_not_there(self.system.call(NOBODY, "GET", wrong), never, "ATTACHMENT_NOT_FOUND")
        # What shows it, does not replace it.
        replaced = self.system.call(NOBODY, "POST", file.link, content=PNG)
        error_of(replaced, "ATTACHMENT_NOT_FOUND", 404)

    def chat(self, session: Session | None, kind: str, /, **params: Any) -> httpx.Response:
        request = {"type": kind, "params": params, "metadata": {}}
        return self.system.call(secret_of(session), "POST", CHAT, json=request)

    def may_chat(self, session: Session | None, answer: httpx.Response) -> bool:
        """Tells whether that session lets anybody do anything; where it does not, nothing was."""
        if session is not None and session.chain.deleted:
            error_of(answer, "SESSION_DELETED", 410)
            return False
        if session is None or session.lifetime < 0:
            error_of(answer, "UNAUTHENTICATED", 401)
            return False
        return True

    def answered(self, session: Session, thread: Thread, messages: int) -> None:
        self.model.count(thread.user, "totalMessages", messages)
        self.model.count(thread.user, "turns")
        page = self.chat(session, "items.list", thread_id=thread.id, limit=100, order="asc").json()
        items = [item["id"] for item in page["data"]]
        assert items[: len(thread.items)] == thread.items
        assert len(items) == len(thread.items) + messages
        thread.items = items


def secret_of(session: Session | None) -> str:
    return session.secret if session else "cksec_never-given-out-0123456789"


def parameters(what: str, thread: Thread | None) -> dict[str, Any]:
    """Returns those of a request about a thread, or about one that there never was."""
    about: dict[str, Any] = {"thread_id": thread.id if thread else "thr_0123456789abcdef"}
    item_id = thread.items[0] if thread else "msg_0123456789abcdef"
    match what:
        case "items.list":
            about |= {"limit": 100, "order": "asc"}
        case "threads.update":
            about |= {"title": "Mío"}
        case "threads.add_user_message":
            about |= {"input": message("¿Y ahora?")}
        case "threads.retry_after_item":
            about |= {"item_id": item_id}
        case "items.feedback":
            about |= {"item_ids": [item_id], "kind": "positive"}
    return about


def body_of(whom: int | str | None, **others: Any) -> dict[str, Any]:
    return others if whom is None else {"userId": whom, **others}


def check(machine: type[RuleBasedStateMachine], examples: int) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            phases=(Phase.generate,),  # to shrink a failure takes minutes
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_nobody_meets_what_is_not_theirs_in_hosted_mode() -> None:
    check(HostedWithFailures, examples=12)


def test_nobody_meets_what_is_not_theirs_in_self_hosted_mode() -> None:
    check(SelfHosted, examples=12)

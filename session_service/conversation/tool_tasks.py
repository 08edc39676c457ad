"""OpenAI's own tools as tasks that the user sees: ChatKit's SDK shows nothing of them by itself."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import urlsplit

from chatkit.agents import AgentContext
from chatkit.types import (
    CustomTask,
    FileSource,
    FileTask,
    SearchTask,
    Task,
    ThreadItemAddedEvent,
    ThreadItemUpdatedEvent,
    ThreadStreamEvent,
    URLSource,
    Workflow,
    WorkflowItem,
    WorkflowTaskAdded,
    WorkflowTaskUpdated,
)

from session_service.conversation.texts import Texts

_MAX_SOURCES = 20


class ToolTasks:
    """Those of one turn, in the workflow item that is open, or in one of their own."""

    def __init__(self, context: AgentContext[Any], texts: Texts) -> None:
        self.calls = 0
        """Tool calls so far, those of the agent's own functions too."""
        self._context = context
        self._texts = texts
        self._shown: dict[str, tuple[WorkflowItem, int]] = {}

    def follow(self, event: Any) -> Iterator[ThreadStreamEvent]:
        """Yields what the user is to see of an event of the Responses API."""
        if event.type == "response.output_item.added":
            task = self._task(event.item, "loading")
            self.calls += task is not None or event.item.type == "function_call"
            if task:
                yield self._add(event.item.id, task)
        elif event.type == "response.output_item.done" and event.item.id in self._shown:
            task = self._task(event.item, "complete")
            if task:
                yield self._update(event.item.id, task)

    def _task(self, item: Any, status: Literal["loading", "complete"]) -> Task | None:
        """Returns what a call of one of OpenAI's tools looks like; None for anything else."""
        match item.type:
            case "web_search_call":
                return _search_task(item, self._texts.searching_web, status)
            case "file_search_call":
                return FileTask(
                    title=self._texts.searching_files,
                    status_indicator=status,
                    sources=_file_sources(item),
                )
            case "code_interpreter_call":
                return CustomTask(
                    title=self._texts.running_code,
                    icon="square-code",
                    content=f"```python\n{item.code}\n```" if item.code else None,
                    status_indicator=status,
                )
        return None

    def _add(self, call_id: str, task: Task) -> ThreadStreamEvent:
        workflow = self._context.workflow_item
        if workflow is not None:
            workflow.workflow.tasks.append(task)
            index = len(workflow.workflow.tasks) - 1
            self._shown[call_id] = workflow, index
            update = WorkflowTaskAdded(task=task, task_index=index)
            return ThreadItemUpdatedEvent(item_id=workflow.id, update=update)
        workflow = WorkflowItem(
            id=self._context.generate_id("workflow"),
            thread_id=self._context.thread.id,
            created_at=datetime.now(UTC),
            workflow=Workflow(type="custom", tasks=[task]),
        )
        self._context.workflow_item = workflow
        self._shown[call_id] = workflow, 0
        return ThreadItemAddedEvent(item=workflow)

    def _update(self, call_id: str, task: Task) -> ThreadStreamEvent:
        workflow, index = self._shown[call_id]
        workflow.workflow.tasks[index] = task
        update = WorkflowTaskUpdated(task=task, task_index=index)
        return ThreadItemUpdatedEvent(item_id=workflow.id, update=update)


def _search_task(item: Any, title: str, status: Literal["loading", "complete"]) -> SearchTask:
    action = item.action
    queries = getattr(action, "queries", None) or [getattr(action, "query", None)]
    sources = getattr(action, "sources", None) or []
    return SearchTask(
        title=title,
        queries=[query for query in queries if query],
        sources=[
            URLSource(url=source.url, title=urlsplit(source.url).hostname or source.url)
            for source in sources[:_MAX_SOURCES]
            if getattr(source, "url", None)
        ],
        status_indicator=status,
    )


def _file_sources(item: Any) -> list[FileSource]:
    names = dict.fromkeys(result.filename for result in item.results or () if result.filename)
    return [FileSource(filename=name, title=name) for name in names][:_MAX_SOURCES]

"""What schemathesis cannot know when it makes a valid request: who the caller is."""

from typing import Any

from schemathesis import Case, HookContext, hook

USER = 7


@hook
def map_case(context: HookContext, case: Case[Any]) -> Case[Any]:
    """Lets bodies and queries name the caller: for whoever else they name it is always 403."""
    body = case.body
    is_valid = case.meta is None or not case.meta.generation.mode.is_negative
    if is_valid and isinstance(body, dict) and body.get("userId") is not None:
        case.body = {**body, "userId": USER}
    if is_valid and (case.query or {}).get("userId"):
        case.query = {**case.query, "userId": str(USER)}
    return case

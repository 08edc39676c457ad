"""OpenAI's `models.retrieve`: which models there are."""

from session_service.openai_emulator.errors import JSON, APIError

_CREATED_AT = 1_754_006_400


def retrieve_model(id: str) -> JSON:
    check_model(id)
    return {"id": id, "object": "model", "created": _CREATED_AT, "owned_by": "system"}


def check_model(id: str) -> None:
    """Raises `APIError` for one that there is not."""
    if id.startswith("gpt-missing"):
        message = f"The model `{id}` does not exist or you do not have access to it."
        raise APIError(404, message, param="model", code="model_not_found")

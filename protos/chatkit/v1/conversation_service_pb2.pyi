from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ProcessRequest(_message.Message):
    __slots__ = ("client_secret", "request", "language", "base_url")
    CLIENT_SECRET_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    LANGUAGE_FIELD_NUMBER: _ClassVar[int]
    BASE_URL_FIELD_NUMBER: _ClassVar[int]
    client_secret: str
    request: bytes
    language: str
    base_url: str
    def __init__(self, client_secret: _Optional[str] = ..., request: _Optional[bytes] = ..., language: _Optional[str] = ..., base_url: _Optional[str] = ...) -> None: ...

class ProcessResponse(_message.Message):
    __slots__ = ("head", "data")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    head: ProcessHead
    data: bytes
    def __init__(self, head: _Optional[_Union[ProcessHead, _Mapping]] = ..., data: _Optional[bytes] = ...) -> None: ...

class ProcessHead(_message.Message):
    __slots__ = ("content_type",)
    CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    content_type: str
    def __init__(self, content_type: _Optional[str] = ...) -> None: ...

class UploadAttachmentRequest(_message.Message):
    __slots__ = ("head", "data", "end")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    head: UploadAttachmentHead
    data: bytes
    end: bool
    def __init__(self, head: _Optional[_Union[UploadAttachmentHead, _Mapping]] = ..., data: _Optional[bytes] = ..., end: _Optional[bool] = ...) -> None: ...

class UploadAttachmentHead(_message.Message):
    __slots__ = ("client_secret", "link", "name", "mime_type", "base_url", "size")
    CLIENT_SECRET_FIELD_NUMBER: _ClassVar[int]
    LINK_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    MIME_TYPE_FIELD_NUMBER: _ClassVar[int]
    BASE_URL_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    client_secret: str
    link: AttachmentLink
    name: str
    mime_type: str
    base_url: str
    size: int
    def __init__(self, client_secret: _Optional[str] = ..., link: _Optional[_Union[AttachmentLink, _Mapping]] = ..., name: _Optional[str] = ..., mime_type: _Optional[str] = ..., base_url: _Optional[str] = ..., size: _Optional[int] = ...) -> None: ...

class AttachmentLink(_message.Message):
    __slots__ = ("attachment_id", "expires_at", "signature")
    ATTACHMENT_ID_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    attachment_id: str
    expires_at: int
    signature: str
    def __init__(self, attachment_id: _Optional[str] = ..., expires_at: _Optional[int] = ..., signature: _Optional[str] = ...) -> None: ...

class UploadAttachmentResponse(_message.Message):
    __slots__ = ("attachment",)
    ATTACHMENT_FIELD_NUMBER: _ClassVar[int]
    attachment: bytes
    def __init__(self, attachment: _Optional[bytes] = ...) -> None: ...

class ReadAttachmentRequest(_message.Message):
    __slots__ = ("link",)
    LINK_FIELD_NUMBER: _ClassVar[int]
    link: AttachmentLink
    def __init__(self, link: _Optional[_Union[AttachmentLink, _Mapping]] = ...) -> None: ...

class ReadAttachmentResponse(_message.Message):
    __slots__ = ("head", "data")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    head: ReadAttachmentHead
    data: bytes
    def __init__(self, head: _Optional[_Union[ReadAttachmentHead, _Mapping]] = ..., data: _Optional[bytes] = ...) -> None: ...

class ReadAttachmentHead(_message.Message):
    __slots__ = ("name", "mime_type", "size")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MIME_TYPE_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    name: str
    mime_type: str
    size: int
    def __init__(self, name: _Optional[str] = ..., mime_type: _Optional[str] = ..., size: _Optional[int] = ...) -> None: ...

class DeleteUserDataRequest(_message.Message):
    __slots__ = ("user_id",)
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    def __init__(self, user_id: _Optional[str] = ...) -> None: ...

class DeleteUserDataResponse(_message.Message):
    __slots__ = ("sessions", "threads", "attachments")
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    THREADS_FIELD_NUMBER: _ClassVar[int]
    ATTACHMENTS_FIELD_NUMBER: _ClassVar[int]
    sessions: int
    threads: int
    attachments: int
    def __init__(self, sessions: _Optional[int] = ..., threads: _Optional[int] = ..., attachments: _Optional[int] = ...) -> None: ...

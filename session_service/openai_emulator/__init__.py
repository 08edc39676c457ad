"""Stands in for OpenAI, for development and tests: set `OPENAI_BASE_URL` to it.

    python -m session_service.openai_emulator [--listen 127.0.0.1:8090]
    OPENAI_BASE_URL=http://127.0.0.1:8090/v1

It emulates, strictly, what a server asks of https://api.openai.com/v1: `chatkit/sessions` (create,
cancel), `chatkit/threads` (list, retrieve, delete, list items), `responses` (create), `files`
(create, list, retrieve, delete) and `models` (retrieve). Whatever the API does not document is
refused: unknown paths, fields and query parameters, wrong types, a missing beta header, files that
were never uploaded.

It does not emulate the browser's side: no workflow runs, client secrets open nothing. There is no
model either: `responses` says what it is told, in Spanish, one word a delta. Nothing is billed, no
rate limit is enforced, all keys share one project, and the state is in memory only; of files, only
what is known about them. Conversations, prompts and items to refer to do not exist.

Every key `sk-…`, every workflow `wf_…`, every vector store `vs_…` and every model exists, but for
these, which show the documented errors:

    key sk-wrong              401 invalid_api_key
    key sk-noscope            403 missing scopes
    key sk-noquota            429 insufficient_quota
    workflow wf_missing…      404, as for a workflow of another project
    vector store vs_missing…  404
    model gpt-missing…        404 model_not_found

The model goes by the text of the last message of the user's. It quotes it, names what is attached,
and before that uses the tools that are offered and asked for:

    web_search        busca, search            cites a page
    code_interpreter  calcula, calculate       cites a file of the container
    file_search       documento, document      cites the file that was uploaded last
    function <name>   call <name> [{…}]        calls it with that JSON object or {}, says nothing,
                                               and in the next response quotes the output

    `tool_choice` is obeyed, "required" by the first tool. `max_output_tokens` is how many words.

The control API is JSON without authentication, under `/_emulator`:

    POST   /failures            {"operation", "kind", "times", …}: let requests fail. Failures of an
                                operation happen in the order they were added.
             operation          sessions.create, sessions.cancel, threads.list, threads.retrieve,
                                threads.delete, threads.items, responses.create, files.create,
                                files.list, files.retrieve, files.delete, models.retrieve, or *
                                (default)
             times              how many requests; default 1, null until cleared
             delay_seconds      wait so long first, with any kind but drip
             kind  status       (default) answer `status` (default 500) with `headers` and `body`,
                                or `raw_body`, else with what OpenAI would say
                   delay        answer as usual, after delay_seconds
                   hang         never answer
                   reset        close the connection with RST
                   truncate     close it in the middle of the answer
                   malformed    answer 200 with broken JSON
                   huge         answer 200 with 2 MiB of JSON
             and in responses.create, after `after_deltas` (default 3), at the end at the latest
                   error_event    the event error with `code`, or with the data in `body`
                   failed_event   response.failed with `code`: server_error (default),
                                  rate_limit_exceeded, invalid_prompt
                   incomplete     response.incomplete with `reason`: max_output_tokens (default),
                                  content_filter
                   broken_stream  close the connection
             or from the beginning
                   silence        nothing after response.created
                   stuck_tool     nothing after a web search has begun
                   drip           a delta each delay_seconds
    DELETE /failures            forget them
    POST   /answers             {"text"?, "deltas"?, "pause_seconds"?, "times"?}: what the messages
                                of the next responses say, in how many deltas (the words over again)
                                and how long between them (default 0.02); times as for failures
    DELETE /answers             forget them
    GET    /requests            the latest 10,000 requests, oldest first; ?operation= selects.
                                `left_early` is whether the client left before the end,
                                `sent_deltas` how much of a response it was sent; the body of
                                files.create is {"filename", "content_type", "bytes", "sha256",
                                "purpose", …}
    DELETE /requests            forget them
    POST   /threads             {"user", "title"?, "created_at"?}: what a first message causes
    POST   /threads/{id}/items  {"type", "text"?, "created_at"?, "count"?}: and the further ones;
                                `type` is one of OpenAI's, such as chatkit.user_message
"""

/**
 * Stands in for <openai-chatkit>: asks the `api` option what the component asks of it, in the
 * ChatKit protocol, and shows the answers. Opened as page.html#gateway=…&token=…
 */

const settings = new URLSearchParams(location.hash.slice(1));
const gateway = settings.get("gateway");
const { chatkitApi, ChatKitApiError } = await import(`${gateway}/chatkit-client.js`);
const api = chatkitApi({
  baseUrl: gateway,
  getToken: () => settings.get("token"),
  domainKey: "localhost",
  user: { username: "user7", role: "admin" },
});

const $ = (id) => document.getElementById(id);

let thread = null; // the id
let items = new Map(); // by id, as the server has said them
let attachments = []; // uploaded for the next message
let running = null; // the AbortController of the stream
let retry = null; // asks again for the answer that failed

// --- the protocol ---

async function post(type, params, signal) {
  const response = await api.fetch(api.url, {
    method: "POST",
    headers: { "Content-Type": "application/json", "Accept-Language": "es" },
    body: JSON.stringify({ type, params, metadata: {} }),
    signal,
  });
  if (!response.ok) throw await ChatKitApiError.from(response);
  return response;
}

async function ask(type, params) {
  return (await post(type, params)).json();
}

async function* events(response) {
  let rest = "";
  for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
    const frames = (rest + text).split("\n\n");
    rest = frames.pop();
    for (const frame of frames) yield JSON.parse(frame.replace(/^data: /, ""));
  }
}

/** Asks for an answer and shows it while it comes. */
async function stream(type, params) {
  retry = () => stream(type, params); // until the server has the message
  running = new AbortController();
  showRunning();
  try {
    for await (const event of events(await post(type, params, running.signal))) handle(event);
    await listThreads().catch(tell);
  } catch (error) {
    if (error.name !== "AbortError") showError(error.message, true);
  }
  running = null;
  for (const node of document.querySelectorAll(".growing")) node.classList.remove("growing");
  showRunning();
}

function handle(event) {
  switch (event.type) {
    case "thread.created":
    case "thread.updated":
      showThread(event.thread);
      break;
    case "thread.item.added":
    case "thread.item.replaced":
    case "thread.item.done":
      keep(event.item, event.type !== "thread.item.done");
      if (event.item.type === "user_message") retry = () => retryAfter(event.item.id);
      break;
    case "thread.item.updated":
      update(items.get(event.item_id), event.update);
      break;
    case "thread.item.removed":
      forget(event.item_id);
      break;
    case "notice":
      show(element("div", "notice", [event.title, event.message].filter(Boolean).join(" ")));
      break;
    case "error":
      showError(event.message ?? "Algo ha ido mal.", event.allow_retry);
  }
}

function update(item, { type, content_index: index, ...change }) {
  switch (type) {
    case "assistant_message.content_part.added":
    case "assistant_message.content_part.done":
      item.content[index] = change.content;
      break;
    case "assistant_message.content_part.text_delta":
      item.content[index].text += change.delta;
      break;
    case "assistant_message.content_part.annotation_added":
      item.content[index].annotations[change.annotation_index] = change.annotation;
      break;
    case "workflow.task.added":
    case "workflow.task.updated":
      item.workflow.tasks[change.task_index] = change.task;
  }
  keep(item, true);
}

async function send(text) {
  const input = {
    content: [{ type: "input_text", text }],
    attachments: attachments.map(({ id }) => id),
    quoted_text: "",
    inference_options: {},
  };
  attachments = [];
  showAttachments();
  if (thread) await stream("threads.add_user_message", { thread_id: thread, input });
  else await stream("threads.create", { input });
}

async function retryAfter(id) {
  const ids = [...items.keys()];
  ids.slice(ids.indexOf(id) + 1).forEach(forget);
  await stream("threads.retry_after_item", { thread_id: thread, item_id: id });
}

async function upload(file) {
  const body = new FormData();
  body.append("file", file);
  const response = await api.fetch(api.uploadStrategy.uploadUrl, { method: "POST", body });
  if (!response.ok) return showError((await ChatKitApiError.from(response)).message, false);
  attachments.push(await response.json());
  showAttachments();
}

async function listThreads() {
  const { data } = await ask("threads.list", { limit: 20, order: "desc" });
  $("threads").replaceChildren(
    ...data.map(({ id, title }) => {
      const button = element("button", "", title ?? "Conversación nueva");
      button.onclick = () => open(id).catch(tell);
      button.ariaCurrent = String(id === thread);
      return button;
    }),
  );
}

async function open(id) {
  clear();
  const found = await ask("threads.get_by_id", { thread_id: id });
  showThread(found);
  found.items.data.forEach((item) => keep(item, false));
  await listThreads();
}

// --- what is seen ---

function element(name, className, ...children) {
  const made = document.createElement(name);
  made.className = className;
  made.append(...children);
  return made;
}

function show(node) {
  $("items").append(node);
  node.scrollIntoView({ block: "end" });
}

/** Shows an item, in its place if it is there already. */
function keep(item, growing) {
  items.set(item.id, item);
  const node = draw[item.type]?.(item);
  if (!node) return;
  node.dataset.id = item.id;
  node.classList.toggle("growing", growing);
  const before = document.querySelector(`[data-id="${CSS.escape(item.id)}"]`);
  if (before) before.replaceWith(node);
  else show(node);
}

function forget(id) {
  items.delete(id);
  document.querySelector(`[data-id="${CSS.escape(id)}"]`)?.remove();
}

const draw = {
  user_message: (item) =>
    element("div", "user", ...item.attachments.map(chip), element("div", "text", textOf(item))),
  assistant_message(item) {
    const node = element("div", "assistant", element("div", "text", textOf(item)));
    const sources = item.content.flatMap(({ annotations }) => annotations ?? []);
    if (sources.length) node.append(element("ol", "sources", ...sources.map(citation)));
    return node;
  },
  workflow: (item) =>
    element(
      "ul",
      "workflow",
      ...item.workflow.tasks.map((task) => {
        const node = element("li", "", task.title ?? task.title_query ?? task.content ?? task.type);
        node.dataset.status = task.status_indicator;
        return node;
      }),
    ),
};

function textOf(item) {
  return item.content.map(({ text }) => text).join("\n");
}

function citation({ source }) {
  if (source.type !== "url") return element("li", "", source.title || source.filename);
  const link = element("a", "", source.title || source.url);
  link.href = source.url;
  return element("li", "", link);
}

function chip(attachment) {
  const node = element("span", "chip", attachment.name);
  if (attachment.preview_url) {
    const image = element("img", "");
    image.alt = "";
    image.src = attachment.preview_url;
    node.prepend(image);
  }
  return node;
}

function showError(message, allowRetry) {
  const node = element("div", "error", element("span", "", message));
  if (allowRetry) {
    const again = retry;
    const button = element("button", "", "Reintentar");
    button.onclick = () => (node.remove(), again());
    node.append(button);
  }
  show(node);
}

function tell(error) {
  showError(error.message, false);
}

function showThread({ id, title, status }) {
  thread = id;
  $("title").textContent = title ?? "Conversación nueva";
  $("message").disabled = $("send").disabled = (status?.type ?? "active") !== "active";
}

function showAttachments() {
  $("attached").replaceChildren(...attachments.map(chip));
}

function showRunning() {
  $("stop").hidden = !running;
  $("send").hidden = Boolean(running);
}

function clear() {
  thread = null;
  items = new Map();
  $("items").replaceChildren();
  $("title").textContent = "Asistente";
  $("message").disabled = $("send").disabled = false;
}

$("composer").onsubmit = (event) => {
  event.preventDefault();
  const text = $("message").value.trim();
  $("message").value = "";
  if (text && !running) void send(text);
};
$("message").onkeydown = (event) => {
  if (event.key !== "Enter" || event.shiftKey) return;
  event.preventDefault();
  $("composer").requestSubmit();
};
$("stop").onclick = () => running?.abort();
$("new").onclick = () => (clear(), listThreads().catch(tell));
$("attach").onclick = () => $("file").click();
$("file").onchange = async () => {
  for (const file of $("file").files) await upload(file);
  $("file").value = "";
};

await listThreads().catch(tell);
document.body.dataset.ready = "";

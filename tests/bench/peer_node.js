// The same as peer_fastapi.py in Node: node peer_node.js PORT WORKERS.
//
// On node:http and not on Express, which would have to be installed, and which does more for each
// request: so Express is slower than this. `fetch` keeps its connections open by itself.

const cluster = require("node:cluster");
const crypto = require("node:crypto");
const http = require("node:http");

const [port, workers] = process.argv.slice(2).map(Number);
const { JWT_SECRET, OPENAI_API_KEY, OPENAI_BASE_URL, OPENAI_CHATKIT_WORKFLOW_ID } = process.env;

class HTTPError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

function currentUser(request) {
  const [scheme, token] = (request.headers.authorization ?? "").split(" ");
  const [head, payload, signature] = (token ?? "").split(".");
  const expected = crypto.createHmac("sha256", JWT_SECRET).update(`${head}.${payload}`).digest();
  const given = Buffer.from(signature ?? "", "base64url");
  if (
    scheme !== "Bearer" ||
    given.length !== expected.length ||
    !crypto.timingSafeEqual(given, expected)
  ) {
    throw new HTTPError(401, "Invalid token");
  }
  const { alg } = JSON.parse(Buffer.from(head, "base64url"));
  const claims = JSON.parse(Buffer.from(payload, "base64url"));
  if (alg !== "HS256" || !(claims.exp > Date.now() / 1000)) {
    throw new HTTPError(401, "Invalid token");
  }
  return String(claims.userId);
}

async function readJSON(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return JSON.parse(Buffer.concat(chunks));
}

async function createSession(request) {
  const user = currentUser(request);
  const body = await readJSON(request);
  if (String(body.userId ?? user) !== user) throw new HTTPError(403, "Not your session");
  const answer = await fetch(`${OPENAI_BASE_URL}/chatkit/sessions`, {
    method: "POST",
    headers: {
      Authorization: `Bearer ${OPENAI_API_KEY}`,
      "Content-Type": "application/json",
      "OpenAI-Beta": "chatkit_beta=v1",
    },
    body: JSON.stringify({ user, workflow: { id: OPENAI_CHATKIT_WORKFLOW_ID } }),
  });
  if (answer.status !== 200) throw new HTTPError(502, "OpenAI refused");
  const { id, client_secret, expires_at } = await answer.json();
  return { success: true, data: { session_id: id, client_secret, expires_at } };
}

async function answer(request, response) {
  let status = 200;
  let body;
  try {
    if (request.method !== "POST" || request.url !== "/api/chatkit/session") {
      throw new HTTPError(404, "Not found");
    }
    body = await createSession(request);
  } catch (error) {
    status = error.status ?? 500;
    body = { detail: error.message };
  }
  const bytes = Buffer.from(JSON.stringify(body));
  response.writeHead(status, {
    "Content-Type": "application/json",
    "Content-Length": bytes.length,
  });
  response.end(bytes);
}

if (cluster.isPrimary) {
  for (let worker = 0; worker < workers; worker += 1) cluster.fork();
  // A bench that measured one worker fewer would say something else than it claims.
  cluster.on("exit", (_, code) => process.exit(code || 1));
} else {
  http.createServer(answer).listen(port, "127.0.0.1");
}

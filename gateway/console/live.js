/** Follows a stream of server-sent events, and opens it again whenever it ends. */

const SILENCE_MS = 40_000; // the gateway says something every 15 s
const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 30_000;

/**
 * Calls `onEvent(name, data)` for each event and `onState("live" | "waiting", error)` for what
 * becomes of the stream, until the function that it returns is called, or `onEvent` returns false.
 */
export function follow({ open, onEvent, onState }) {
  let stopped = false;
  let attempt = null;

  async function run() {
    let pause = FIRST_PAUSE_MS;
    while (!stopped) {
      try {
        await once(() => {
          pause = FIRST_PAUSE_MS;
        });
        if (!stopped) onState("waiting", null);
      } catch (error) {
        if (!stopped) onState("waiting", error.name === "Problem" ? error : null);
      }
      if (stopped) return;
      await sleep(pause * (0.75 + Math.random() / 2));
      pause = Math.min(2 * pause, LONGEST_PAUSE_MS);
    }
  }

  async function once(onAlive) {
    attempt = new AbortController();
    const silence = watchdog(attempt);
    try {
      const response = await open(attempt.signal);
      onState("live", null);
      for await (const { name, data } of events(response.body, silence.feed)) {
        onAlive();
        if (!stopped && onEvent(name, data) === false) stop();
        if (stopped) return;
      }
    } finally {
      silence.stop();
    }
  }

  function stop() {
    stopped = true;
    attempt?.abort();
  }

  void run();
  return stop;
}

function watchdog(controller) {
  let timer = 0;
  const feed = () => {
    clearTimeout(timer);
    timer = setTimeout(() => controller.abort(), SILENCE_MS);
  };
  feed();
  return { feed, stop: () => clearTimeout(timer) };
}

async function* events(body, onBytes) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    onBytes();
    const frames = (rest + value).split("\n\n");
    rest = frames.pop();
    for (const frame of frames) {
      const { event, data } = fieldsOf(frame);
      if (data) yield { name: event, data: JSON.parse(data) }; // a comment has none
    }
  }
}

function fieldsOf(frame) {
  const fields = {};
  for (const line of frame.split("\n")) {
    const [, name, value] = /^(\w+): ?(.*)$/.exec(line) ?? [];
    if (name) fields[name] = value;
  }
  return fields;
}

const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Embeds `<chatkit-chat>` for a gateway. Opened as panel.html#gateway=…&token=…&lang=… */

import "/console/chat.js";

const settings = new URLSearchParams(location.hash.slice(1));
const gateway = settings.get("gateway");
const { chatkitApi } = await import(`${gateway}/chatkit-client.js`);
const { getClientSecret } = chatkitApi({
  baseUrl: gateway,
  getToken: settings.get("token"),
  mode: "hosted", // of the two ways to have a secret, the one that hands it out
});

document.documentElement.lang = settings.get("lang");
const chat = document.createElement("chatkit-chat");
chat.id = "chat";
chat.lang = settings.get("lang");
chat.toggleAttribute("uploads", true);
chat.apiUrl = `${gateway}/api/chatkit`;
chat.getClientSecret = getClientSecret;
window.failures = [];
document.addEventListener("chat-error", ({ detail }) => window.failures.push(detail.code));
document.querySelector("main").append(chat);

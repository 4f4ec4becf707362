// Requests to the server, with the token if it needs one.

const PLACE = "songbag-token";
let token = sessionStorage.getItem(PLACE);
let askForToken = async () => null;

export class Refusal extends Error {
  constructor(status, body) {
    super(body.message || `The server answered ${status}.`);
    this.status = status;
    this.body = body;
    this.reason = body.reason || "refused";
  }
}

// The address from the terminal may end in a key that can be exchanged once for the token.
export async function enter(ask) {
  askForToken = ask;
  const key = new URLSearchParams(location.hash.slice(1)).get("key");
  if (!key) return;
  history.replaceState(null, "", location.pathname);
  const body = JSON.stringify({ key });
  const headers = { "content-type": "application/json" };
  const answer = await fetch("session", { method: "POST", headers, body });
  if (answer.ok) keepToken((await answer.json()).token);
}

function keepToken(text) {
  token = text;
  if (text) sessionStorage.setItem(PLACE, text);
}

function authorization() {
  return token ? { authorization: `Bearer ${token}` } : {};
}

async function withToken(send) {
  for (;;) {
    const answer = await send();
    if (answer.status !== 401) return answer;
    keepToken(await askForToken());
  }
}

async function ask(path, options = {}) {
  const answer = await withToken(() =>
    fetch(path, { ...options, headers: { ...options.headers, ...authorization() } }),
  );
  if (!answer.ok) throw new Refusal(answer.status, await answer.json());
  return answer;
}

export const get = async (path) => (await ask(path)).json();
export const blob = async (path) => (await ask(path)).blob();

export async function post(path, body) {
  const headers = { "content-type": "application/json" };
  return (await ask(path, { method: "POST", headers, body: JSON.stringify(body) })).json();
}

// fetch cannot tell how much of an upload is done; XMLHttpRequest can.
function upload(file, id, onProgress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "predict?peaks=true&csv=true&kept=true&tags=true");
    for (const [name, value] of Object.entries(authorization())) {
      request.setRequestHeader(name, value);
    }
    request.responseType = "json";
    request.upload.onprogress = (event) => onProgress(event.loaded / event.total);
    request.upload.onload = () => onProgress(1);
    request.onload = () => resolve(request);
    request.onerror = () => reject(new Refusal(0, { reason: "unreachable", message:
      "The server cannot be reached, or the file cannot be read any more." }));
    const form = new FormData();
    form.append("id", id);
    form.append("file", file);
    request.send(form);
  });
}

const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds));

export async function predict(file, id, onProgress) {
  for (;;) {
    const answer = await withToken(() => upload(file, id, onProgress));
    if (answer.status === 503) {
      onProgress(null);
      await pause(Number(answer.getResponseHeader("retry-after")) || 1);
      continue;
    }
    if (answer.status !== 200) throw new Refusal(answer.status, answer.response || {});
    return answer.response;
  }
}

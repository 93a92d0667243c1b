// The server, as far as the page asks it. Its texts come from models and are made printable on their way in.

import { printableValue } from "./printable.js";

const KEY = "deploykit-key";

/** An answer other than success. `status` is 0 where there was no answer at all. */
export class ServerError extends Error {
  constructor(message, status, retryAfter = 0) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/** Keep the key for as long as the tab is open. */
export function rememberKey(key) {
  sessionStorage.setItem(KEY, key);
}

export function hasKey() {
  return sessionStorage.getItem(KEY) !== null;
}

export function listModels() {
  return ask("/v2/repository/index", { method: "POST", body: "{}" });
}

export function readCard(name) {
  return ask(`${path(name)}/card`);
}

/** Send one picture (a Blob); `options` are those that differ from the model's own. */
export function predict(name, picture, options, signal) {
  const type = picture.type.startsWith("image/") ? picture.type : "application/octet-stream";
  const headers = { "Content-Type": type };
  return ask(`${path(name)}/predict${query(options)}`, { method: "POST", body: picture, headers, signal });
}

/** The command that asks the same. */
export function curlLine(name, options) {
  const key = hasKey() ? '-H "Authorization: Bearer $KEY" ' : "";
  const url = `${location.origin}${path(name)}/predict${query(options)}`;
  return `curl ${key}-F image=@photo.jpg '${url.replaceAll("'", "%27")}'`;
}

function path(name) {
  return `/v2/models/${encodeURIComponent(name)}`;
}

function query(options) {
  const text = new URLSearchParams(options).toString();
  return text && `?${text}`;
}

async function ask(url, { headers = {}, ...request } = {}) {
  const key = sessionStorage.getItem(KEY);
  const all = key === null ? headers : { ...headers, Authorization: `Bearer ${key}` };
  const response = await send(url, { ...request, headers: all });
  const answer = printableValue(await response.json().catch(() => null));
  if (response.ok && answer !== null) {
    return answer;
  }
  const message = answer?.error ?? `The server answered ${response.status}.`;
  throw new ServerError(message, response.status, Number(response.headers.get("Retry-After")) || 0);
}

async function send(url, request) {
  try {
    return await fetch(url, request);
  } catch (error) {
    if (error.name === "AbortError") {
      throw error;
    }
    throw new ServerError("The server cannot be reached.", 0);
  }
}

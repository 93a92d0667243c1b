// Text of strangers, as deploykit_runtimes/text/printable.py has it: what a model's author or a client chose to write
// can hide, turn the direction of writing or fill the page. tests/golden/printable.txt holds both to one rule.

const HIDDEN = String.raw`\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f`
  + String.raw`\u2028-\u202e\u2060-\u206f\u3164\ud800-\uf8ff\ufdd0-\ufdef\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff`
  + String.raw`\u{1bca0}-\u{1bca3}\u{1d173}-\u{1d17a}`
  + Array.from({ length: 13 }, (_, i) => String.raw`\u{${(i + 1).toString(16)}fffe}\u{${(i + 1).toString(16)}ffff}`).join("")
  + String.raw`\u{e0000}-\u{e00ff}\u{e01f0}-\u{10ffff}`;
const JOINER = String.raw`\u200c\u200d`;
const SELECTOR = String.raw`\u180b-\u180d\u180f\ufe00-\ufe0f\u{e0100}-\u{e01ef}`;
const FLAG = String.raw`\u{1f3f4}[\u{e0030}-\u{e0039}\u{e0061}-\u{e007a}]{3,6}\u{e007f}`;
const KEY = String.raw`[0-9#*]\ufe0f\u20e3`;
const SEEN = String.raw`(?:${FLAG}|[^\x00-\x7f${HIDDEN}${JOINER}${SELECTOR}])+[${SELECTOR}]?`;
const SUSPECT = new RegExp(`[${HIDDEN}${JOINER}${SELECTOR}]`, "u");
const TOKEN = new RegExp(`(${KEY}|${SEEN}(?:[${JOINER}]${SEEN})*)|[${HIDDEN}${JOINER}${SELECTOR}]`, "gu");
const SHORT = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };

/** The text in one line that a page shows as it is; one longer than `most` loses its middle and tells its length. */
export function printable(text, most = 4000) {
  const letters = text.length <= most ? null : Array.from(text);
  let head = escaped(text);
  let tail = head;
  if (letters !== null && letters.length > most) {
    head = escaped(letters.slice(0, most).join(""));
    tail = escaped(letters.slice(-most).join(""));
  } else if (head.length <= most || Array.from(head).length <= most) {
    return head;
  }
  const told = ` ... (${(letters ?? Array.from(text)).length.toLocaleString("en-US")} characters) ... `;
  const room = Math.max(most - told.length, 0);
  const last = Math.floor(room / 4);
  const kept = Array.from(tail);
  return trimmed(Array.from(head).slice(0, room - last), -1) + told + trimmed(kept.slice(kept.length - last), 0);
}

/** The same value with all its texts printable, those of its keys too. */
export function printableValue(value) {
  if (typeof value === "string") {
    return printable(value);
  }
  if (Array.isArray(value)) {
    return value.map(printableValue);
  }
  if (value === null || typeof value !== "object") {
    return value;
  }
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [printable(key), printableValue(item)]));
}

function escaped(text) {
  return SUSPECT.test(text) ? text.replace(TOKEN, (found, kept) => kept ?? escape(found)) : text;
}

function escape(letter) {
  const code = letter.codePointAt(0);
  const [sign, digits] = code < 0x100 ? ["x", 2] : code < 0x10000 ? ["u", 4] : ["U", 8];
  return SHORT[letter] ?? `\\${sign}${code.toString(16).padStart(digits, "0")}`;
}

/** Letters without what a cut leaves of a sequence at the end (-1) or at the start (0). */
function trimmed(letters, end) {
  while (letters.length > 0 && SUSPECT.test(letters.at(end))) {
    letters.splice(end, 1);
  }
  return letters.join("");
}

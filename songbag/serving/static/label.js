// Songs one after the other: listen, decide, and the next. A decision is on the server's disk
// before the next song shows.

import { askForToken } from "./ask.js";
import * as api from "./api.js";
import { count, element, find } from "./format.js";
import { showLength, showPlaying, showTime } from "./player.js";
import { Wave } from "./wave.js";

const STEP = 5; // seconds of an arrow key
const KEYS = 9; // labels with a key
const NAMES = { labelled: "labelled", none: "none of the labels", skipped: "skipped" };

let table; // its name, labels, multilabel, and songs with what was decided
let wave;
let current = null; // number of the song that shows, null at the end
let chosen = new Set(); // its labels, as they are pressed
let saving = false;
const past = []; // numbers of the songs that were decided here, and what stood there before
const media = new Map(); // number to a promise of the song's sound and waveform

const song = () => table.songs[current];
let wanted = (one) => !one.decision;

function say(text) {
  find("live").textContent = text;
}

// --- sound ---

async function load(number) {
  const drawn = api.get(`songs/${number}/wave`).catch(() => ({ seconds: 0, peaks: [0, 0] }));
  return { file: await api.blob(`songs/${number}/audio`), drawn: await drawn };
}

function fetched(number) {
  if (!media.has(number)) {
    const promise = load(number);
    promise.catch(() => media.delete(number)); // asked for again when it shows
    media.set(number, promise);
  }
  return media.get(number);
}

function forget(...kept) {
  for (const number of media.keys()) if (!kept.includes(number)) media.delete(number);
}

function tellUnplayable(text) {
  find("unplayable").hidden = !text;
  find("unplayable").textContent = text;
}

// What the browser cannot play, the server decodes.
async function decode() {
  const number = current;
  const known = media.get(number);
  if (!known || known.decoded) return tellUnplayable("This song cannot be played.");
  known.decoded = true;
  const { drawn } = await known;
  const file = await api.blob(`songs/${number}/audio?decoded=true`);
  if (number !== current) return;
  wave.show(file, drawn, []);
  if (song().start) wave.seek(song().start);
}

async function listen(number, play) {
  wave.close();
  showTime(0);
  showLength(0);
  showPlaying(false);
  tellUnplayable("");
  try {
    const { file, drawn } = await fetched(number);
    if (number !== current) return;
    wave.show(file, drawn, []);
    showLength(drawn.seconds);
    if (song().start) wave.seek(song().start);
    if (play) await wave.start();
  } catch (error) {
    if (number === current) tellUnplayable(error.message);
  }
  const next = following(number);
  forget(number, next);
  if (next >= 0) fetched(next).catch(() => {});
}

// A part of a recording is heard from its start to its end.
function toggle() {
  const { start, end } = song();
  if (wave.playing || (!start && end === null)) return wave.toggle();
  const inside = wave.now >= start && (end === null || wave.now < end - 0.1);
  return wave.hear(inside ? wave.now : start, end ?? undefined);
}

// --- what shows ---

function following(number) {
  return table.songs.findIndex((one, k) => k > number && wanted(one));
}

function showProgress() {
  const done = table.songs.filter((one) => one.decision).length;
  const place = current === null ? "" : `Song ${current + 1} of ${table.songs.length}. `;
  find("so-far").textContent = `${place}${done} decided, ${table.songs.length - done} to go`;
  find("progress").max = table.songs.length;
  find("progress").value = done;
}

function showChoices() {
  for (const button of find("choices").children) {
    button.setAttribute("aria-pressed", String(chosen.has(button.value)));
  }
  find("none").setAttribute("aria-pressed", String(song().decision === "none"));
  find("skip").setAttribute("aria-pressed", String(song().decision === "skipped"));
}

function show(number, play) {
  current = number >= 0 ? number : null;
  find("song").hidden = current === null;
  find("done").hidden = current !== null;
  find("problem").textContent = "";
  showProgress();
  if (current === null) return showEnd();
  chosen = new Set(song().labels);
  find("song-name").textContent = song().id.split("/").pop();
  find("song-name").title = song().id;
  find("note").value = song().note;
  find("undo").disabled = !decidedBefore();
  showChoices();
  find("song-name").focus();
  return listen(current, play);
}

function showEnd() {
  wave.close();
  const numbers = Object.entries(NAMES).map(([decision, words]) => {
    const songs = table.songs.filter((one) => one.decision === decision).length;
    return songs ? `${songs} ${words}` : "";
  });
  find("done-title").textContent = `All ${count(table.songs.length, "song")} are decided.`;
  find("done-says").textContent = `${table.name} has it all: ${numbers.filter(Boolean).join(", ")}.`;
  const skipped = table.songs.filter((one) => one.decision === "skipped").length;
  find("again").hidden = !skipped;
  find("again").textContent = `Hear ${count(skipped, "skipped song")} again`;
  find("done-title").focus();
}

// --- decisions ---

async function write(number, decided) {
  saving = true;
  find("problem").textContent = "";
  try {
    Object.assign(table.songs[number], await api.post(`songs/${number}`, decided));
    return true;
  } catch (error) {
    const reason = error instanceof TypeError ? "the server cannot be reached" : error.message;
    find("problem").textContent = `Not saved: ${reason}`;
    return false;
  } finally {
    saving = false;
  }
}

async function decide(decision, labels = []) {
  if (saving || current === null) return;
  const number = current;
  const { decision: was, labels: had, note } = song();
  if (!(await write(number, { decision, labels, note: find("note").value }))) return;
  past.push({ number, before: { decision: was, labels: had, note } });
  say(`${song().id}: ${labels.join(", ") || NAMES[decision]}`);
  const next = following(number);
  show(next >= 0 ? next : table.songs.findIndex((one) => !one.decision), true);
}

// What was decided before this page was opened can be taken back too, the last song first.
function decidedBefore() {
  if (past.length) return past.at(-1);
  const end = current ?? table.songs.length;
  const number = table.songs.findLastIndex((one, k) => k < end && one.decision);
  if (number < 0) return null;
  return { number, before: { decision: "", labels: [], note: table.songs[number].note } };
}

async function undo() {
  const last = decidedBefore();
  if (saving || !last || !(await write(last.number, last.before))) return;
  past.pop();
  say(`Taken back: ${table.songs[last.number].id}`);
  show(last.number, false);
}

function press(label) {
  if (!table.multilabel) return decide("labelled", [label]);
  if (!chosen.delete(label)) chosen.add(label);
  return showChoices();
}

function save() {
  if (chosen.size) decide("labelled", table.labels.filter((label) => chosen.has(label)));
  else find("problem").textContent = "No label is chosen. 0 says that it has none of them.";
}

// --- keys ---

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || find("ask").open) return;
  if (event.target === find("note")) {
    if (event.key === "Enter" || event.key === "Escape") find("song-name").focus();
    else return;
  } else if (current === null) {
    if (event.key.toLowerCase() !== "u") return;
    undo();
  } else if (/^[1-9]$/.test(event.key) && table.labels[event.key - 1] !== undefined) {
    press(table.labels[event.key - 1]);
  } else if (!act(event)) {
    return;
  }
  event.preventDefault();
}

function act({ key, target }) {
  const onButton = target.tagName === "BUTTON";
  if (key === "Enter" && (onButton || !table.multilabel)) return false;
  if (key === " " && onButton) return false;
  if (key.startsWith("Arrow") && target === find("position")) return false;
  const acts = {
    " ": toggle,
    Enter: save,
    0: () => decide("none"),
    s: () => decide("skipped"),
    u: undo,
    Backspace: undo,
    n: () => find("note").focus(),
    ArrowLeft: () => wave.seek(Math.max(0, wave.now - STEP)),
    ArrowRight: () => wave.seek(wave.now + STEP),
  };
  const found = acts[key.length === 1 ? key.toLowerCase() : key];
  found?.();
  return Boolean(found);
}

async function start() {
  await api.enter(askForToken);
  table = await api.get("songs");
  document.title = `Songbag · ${table.name}`;
  find("table-name").textContent = table.name;
  wave = new Wave(find("wave"), find("styles").nonce, {
    time: showTime,
    seek: () => {},
    state: () => showPlaying(wave.playing),
    unplayable: () => decode().catch((error) => tellUnplayable(error.message)),
  });
  const buttons = table.labels.map((label, k) => {
    const key = k < KEYS ? [element("kbd", { textContent: String(k + 1) })] : [];
    const name = element("span", { textContent: label });
    const button = element("button", { type: "button", value: label }, name, ...key);
    button.onclick = () => press(label);
    return button;
  });
  find("choices").replaceChildren(...buttons);
  find("play").onclick = toggle;
  find("position").oninput = (event) => wave.seek(Number(event.target.value));
  find("save").hidden = !table.multilabel;
  find("save").onclick = save;
  find("none").onclick = () => decide("none");
  find("skip").onclick = () => decide("skipped");
  find("undo").onclick = undo;
  find("back").onclick = undo;
  find("again").onclick = () => {
    wanted = (one) => !one.decision || one.decision === "skipped";
    show(following(-1), true);
  };
  addEventListener("keydown", onKey);
  show(following(-1), false);
}

start().catch((error) => {
  find("problem").textContent = `The server does not answer: ${error.message}`;
});

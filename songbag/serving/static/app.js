// The list of songs: adds files, sends a few at a time, shows and announces their answers.

import { showModel } from "./about.js";
import { AnswerView } from "./answer.js";
import * as api from "./api.js";
import { askForToken } from "./ask.js";
import { takeFiles } from "./files.js";
import { find, percent, verdict } from "./format.js";
import { showList } from "./list.js";
import { saveJson, saveSongs, saveWindows } from "./saving.js";

const AT_ONCE = 2; // uploads under way

const songs = [];
let chosen = null;
let sending = 0;
let due = 0;
let model;
let view;

function say(text) {
  find("live").textContent = text;
}

// Many uploads report progress at once; the page is drawn at most once per frame.
function show() {
  due ||= requestAnimationFrame(render);
}

function render() {
  due = 0;
  const any = songs.length > 0;
  document.body.classList.toggle("has-songs", any);
  find("drop").hidden = any;
  find("songs").hidden = !any;
  showList(songs, chosen, choose);
  view.show(chosen);
}

function choose(song) {
  chosen = song;
  render();
}

// Two files of one name are two songs, so they need two ids.
function freeId(name) {
  const taken = new Set(songs.map((song) => song.id));
  let id = name;
  for (let k = 2; taken.has(id); k++) id = `${name} (${k})`;
  return id;
}

function take(files) {
  for (const file of files) {
    const song = { file, id: freeId(file.name), progress: null };
    if (file.size > model.limits.megabytes * 2 ** 20) {
      song.reason = "too_large";
      song.message = `${file.name}: files of up to ${model.limits.megabytes} MB are accepted`;
    }
    songs.push(song);
    chosen ??= song;
  }
  render();
  while (sending < AT_ONCE && next()) send(next());
}

const next = () => songs.find((song) => !song.answer && !song.reason && !song.sent);

async function send(song) {
  sending += 1;
  song.sent = true;
  try {
    song.answer = await api.predict(song.file, song.id, (progress) => {
      song.progress = progress;
      show();
    });
    const row = song.answer.song;
    say(`${song.id}: ${verdict(row)}, ${percent(row.confidence)}`);
  } catch (error) {
    song.reason = error.reason ?? "failed";
    song.message = error.message;
    song.refused = error.body;
    say(`${song.id}: no answer. ${error.message}`);
  }
  sending -= 1;
  show();
  if (next()) send(next());
}

function clear() {
  songs.length = 0;
  choose(null);
  find("choose").focus();
}

async function start() {
  await api.enter(askForToken);
  model = await api.get("model");
  showModel(model);
  view = new AnswerView(model, find("styles").nonce, say);
  const { columns } = model;
  find("save-csv").onclick = () => saveSongs(songs, columns);
  find("save-windows").onclick = () => saveWindows(songs, columns);
  find("save-json").onclick = () => saveJson(songs, columns);
  find("clear").onclick = clear;
}

const ready = start();
// Before the model is loaded: a file dropped earlier would make the browser leave this page.
takeFiles({
  buttons: [find("choose"), find("more")],
  input: find("files"),
  veil: find("veil"),
  take: (files) => ready.then(() => take(files)),
});
ready.catch((error) => {
  find("invite").textContent = "The server does not answer.";
  say(error.message);
});

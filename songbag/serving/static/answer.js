// One song's answer: label, probabilities, waveform, windows, and the answer without some of them.

import { post } from "./api.js";
import { Chart } from "./chart.js";
import { scaleOf } from "./colours.js";
import { count, element, find, percent, signed, time, verdict } from "./format.js";
import { LabelRows } from "./probabilities.js";
import { showLength, showPlaying, showTime } from "./player.js";
import { explain } from "./reasons.js";
import { showTable } from "./table.js";
import { Wave } from "./wave.js";

export class AnswerView {
  constructor(model, nonce, say) {
    const { labels, space } = model;
    Object.assign(this, { labels, space, say, song: null, labelRows: new LabelRows(model) });
    this.wave = new Wave(find("wave"), nonce, {
      time: showTime,
      seek: (seconds) => this.choose(this.chart.nearest(seconds)),
      state: () => showPlaying(this.wave.playing),
      unplayable: () => this.unplayable(),
    });
    this.chart = new Chart(find("chart"), {
      choose: (number) => this.choose(number),
      hear: () => this.hear(),
      leave: () => this.leave(),
    });
    find("play").onclick = () => this.wave.toggle();
    find("position").oninput = (event) => this.wave.seek(Number(event.target.value));
    find("hear").onclick = () => this.hear();
    find("leave").onclick = () => this.leave();
    find("restore").onclick = () => this.remove(new Set());
    find("all-labels").onclick = () => this.rows(true);
    find("every").ontoggle = () => this.table();
  }

  show(song) {
    const fresh = song !== this.song || song.answer !== this.shown;
    Object.assign(this, { song, shown: song?.answer });
    find("answer").hidden = !song;
    if (!song) return this.wave.close();
    find("song-name").textContent = song.id;
    find("failure").hidden = !song.reason;
    find("found").hidden = !song.answer;
    find("working").hidden = Boolean(song.answer || song.reason);
    if (!song.answer) this.wave.close();
    if (song.reason) this.fail(song);
    else if (!song.answer) this.working(song);
    else if (fresh) this.open(song);
  }

  fail({ reason, message }) {
    const [what, advice] = explain(reason);
    find("reason").textContent = what;
    find("advice").textContent = advice;
    find("details").textContent = `${reason}: ${message}`;
  }

  working({ progress }) {
    find("doing").textContent =
      progress === null ? "Waiting for its turn" : progress < 1 ? "Sending" : "Working";
    if (progress === null || progress === 1) find("progress").removeAttribute("value");
    else find("progress").value = 100 * progress;
  }

  open(song) {
    const { answer } = song;
    const row = answer.song;
    const recording = answer.recording ?? { seconds: row.seconds, heard_from: 0, peaks: [0, 0] };
    song.windows ??= answer.windows.map((window) => ({
      ...window,
      begin: window.start + recording.heard_from,
      finish: window.end + recording.heard_from,
    }));
    song.label ??= this.labels.includes(row.predicted) ? row.predicted : this.best(row);
    song.removed ??= new Set();
    const level = row.level_db === null ? "" : ` · ${row.level_db.toFixed(1).replace("-", "−")}\u00a0dB`;
    find("warning").hidden = !row.warnings;
    find("warning").textContent = row.warnings;
    const tags = (answer.tags ?? []).map(({ tag, probability }) => `${tag} ${percent(probability)}`);
    find("tags").hidden = !tags.length;
    find("tags").textContent = `Tags, by the encoder alone: ${tags.join(", ")}`;
    find("unplayable").hidden = true;
    this.facts = `${count(row.windows, "window")} · ${time(recording.seconds)}${level}`;
    this.seconds = recording.seconds;
    showLength(recording.seconds);
    this.axis();
    this.chart.show(song.windows, recording.seconds);
    this.wave.show(song.file, recording, song.windows);
    this.rows();
    this.redraw();
    showTime(0);
    showPlaying(this.wave.playing);
    this.choose(song.chosen ?? 0);
  }

  best(row) {
    return this.labels.reduce((a, b) => (row[`p_${b}`] > row[`p_${a}`] ? b : a));
  }

  rows(all) {
    const { song } = this;
    const choose = (label) => {
      song.label = label;
      this.redraw();
    };
    this.labelRows.show(song, choose, all);
    this.fill();
  }

  fill() {
    const { song } = this;
    const whole = song.answer.song;
    const now = song.again?.song ?? whole;
    find("verdict").textContent = verdict(now);
    const sure = this.labelRows.thresholds ? "sure of the least sure label" : "sure";
    const why = now.status === "unknown" ? now.reason : `${percent(now.confidence)} ${sure}`;
    find("sure").textContent = `${why} · ${this.facts}`;
    this.labelRows.fill(song);
    this.tellRemoved(whole, now);
  }

  tellRemoved(whole, now) {
    const { removed } = this.song;
    find("without").hidden = !removed.size;
    if (!removed.size) return;
    const before = percent(whole[`p_${whole.predicted}`] ?? whole.confidence, 1);
    const share = percent(now[`p_${whole.predicted}`] ?? now.confidence, 1);
    const changed = now.predicted !== whole.predicted ? ` The answer becomes ${verdict(now)}.` : "";
    const text = `Without ${count(removed.size, "window")}: ${verdict(whole)} ${share}, was ${before}.${changed}`;
    find("without-says").textContent = text;
  }

  // The windows' contributions, null for those left out.
  values(label) {
    const rows = new Map((this.song.again ?? this.song.answer).windows.map((r) => [r.window, r]));
    return this.song.windows.map((row) => rows.get(row.window)?.[`contribution_${label}`] ?? null);
  }

  redraw() {
    const { song } = this;
    const values = this.values(song.label);
    const every = [...song.windows, ...(song.again?.windows ?? [])];
    const scale = scaleOf(every, song.label, this.labels);
    const inside = song.windows.filter((_, k) => values[k] !== null);
    this.chart.draw(values, scale, song.label);
    this.wave.colour(inside, values.filter((value) => value !== null), scale);
    document.querySelectorAll(".of-label").forEach((node) => (node.textContent = song.label));
    const negative = values.some((value) => value < 0);
    document.querySelector(".key.against").hidden = !negative;
    const bars = this.space
      ? "Bars add up to the song’s score." : "A bar is what the score loses without its window.";
    find("meaning").textContent = `${bars} Below: the label of each moment by itself.`;
    this.leading();
    this.tell();
    this.table();
  }

  // Which label rules when: stretches of windows with the same most probable label.
  leading() {
    const runs = [];
    this.song.windows.forEach((row, k, windows) => {
      const label = this.best(row);
      const before = windows[k - 1];
      const begin = before ? (before.begin + before.finish + row.begin + row.finish) / 4 : 0;
      if (runs.at(-1)?.label !== label) runs.push({ label, begin });
    });
    const items = runs.map(({ label, begin }, k) => {
      const end = runs[k + 1]?.begin ?? this.seconds;
      const title = `${label}, ${time(begin)} to ${time(end)}`;
      const item = element("li", { textContent: label, title });
      item.style.left = `${(100 * begin) / this.seconds}%`;
      item.style.width = `${(100 * (end - begin)) / this.seconds}%`;
      item.className = label === this.song.label ? "chosen-label" : "";
      return item;
    });
    find("leading").replaceChildren(...items);
  }

  choose(number) {
    this.chart.choose(number);
    this.song.chosen = this.chart.chosen;
    const row = this.song.windows[this.chart.chosen];
    const place = find("chosen-span");
    place.hidden = false;
    place.style.left = `${(100 * row.begin) / this.seconds}%`;
    place.style.width = `${(100 * (row.finish - row.begin)) / this.seconds}%`;
    this.tell();
  }

  tell() {
    const { song, chart } = this;
    const row = song.windows[chart.chosen];
    const value = chart.values[chart.chosen];
    const label = this.best(row);
    find("window-title").textContent =
      `Window ${chart.chosen + 1} · ${time(row.begin, 2)} – ${time(row.finish, 2)}`;
    const adds = value === null ? "Left out." : `Adds ${signed(value)} to ${song.label}.`;
    find("window-says").textContent = `${adds} By itself: ${label}, ${percent(row[`p_${label}`])}.`;
    const out = song.removed.has(row.window);
    find("leave").textContent = out ? "Put it back" : "Leave it out";
    find("leave").disabled = !out && song.removed.size + 1 >= song.windows.length;
  }

  hear() {
    const row = this.song.windows[this.chart.chosen];
    this.wave.hear(row.begin, row.finish);
  }

  leave() {
    if (find("leave").disabled) return;
    const removed = new Set(this.song.removed);
    const { window } = this.song.windows[this.chart.chosen];
    if (!removed.delete(window)) removed.add(window);
    this.remove(removed);
  }

  async remove(removed) {
    const { song } = this;
    const request = (song.request = {});
    song.removed = removed;
    let again = null;
    try {
      if (removed.size) {
        again = await post("without", { kept: song.answer.kept, removed: [...removed] });
      }
    } catch (error) {
      song.removed = new Set();
      this.say(error.message);
    }
    if (song.request !== request) return; // a later request has replaced this one
    song.again = again;
    if (song !== this.song) return;
    this.fill();
    this.redraw();
    this.say(removed.size ? find("without-says").textContent : "All windows are in use again.");
  }

  unplayable() {
    const text = "This browser cannot play this kind of file. The answer is not affected.";
    find("unplayable").hidden = false;
    find("unplayable").textContent = text;
  }

  axis() {
    const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600];
    const most = find("stage").clientWidth < 500 ? 5 : 10;
    const step = steps.find((step) => this.seconds / step <= most) ?? 7200;
    const marks = [];
    for (let at = 0; at < this.seconds - step * 0.4; at += step) {
      const mark = element("span", { textContent: time(at) });
      mark.style.left = `${(100 * at) / this.seconds}%`;
      marks.push(mark);
    }
    find("axis").replaceChildren(...marks);
  }

  table() {
    if (!this.song?.answer || !find("every").open) return;
    showTable(this.song.windows, this.labels, this.song.label, this.values(this.song.label),
      (number) => this.choose(number));
  }
}

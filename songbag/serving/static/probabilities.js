// The labels of a song as rows: probability, threshold, and which one the colours are about.

import { element, find, percent } from "./format.js";

const SHOWN = 8; // labels before "all"

export class LabelRows {
  // Of several labels a song each has a threshold; of one label a song there are none.
  constructor({ labels, multilabel, thresholds }) {
    this.labels = labels;
    this.thresholds = multilabel ? new Map(labels.map((label, k) => [label, thresholds[k]])) : null;
    find("thresholds").hidden = !multilabel;
    find("label-rows").classList.toggle("with-thresholds", multilabel);
  }

  show(song, choose, all = this.labels.length <= SHOWN + 1) {
    const whole = song.answer.song;
    const sorted = [...this.labels].sort((a, b) => whole[`p_${b}`] - whole[`p_${a}`]);
    const shown = all ? sorted : sorted.slice(0, SHOWN);
    if (!shown.includes(song.label)) shown.push(song.label);
    find("label-rows").replaceChildren(...shown.map((label) => this.row(label, song, choose)));
    find("all-labels").hidden = all;
    find("all-labels").textContent = `All ${this.labels.length} labels`;
  }

  row(label, song, choose) {
    const radio = element("input", { type: "radio", name: "label", value: label });
    radio.checked = label === song.label;
    radio.onchange = () => choose(label);
    const bar = element("span", { className: "bar" }, element("i"), element("b"));
    const share = element("span", { className: "share" });
    const name = element("span", { className: "label-name", textContent: label, title: label });
    const row = element("label", { className: "label-row" }, radio, name, bar, share);
    if (this.thresholds) {
      const threshold = this.thresholds.get(label);
      const mark = element("u", { title: `given from ${percent(threshold)} on` });
      mark.style.left = `${100 * threshold}%`;
      bar.append(mark);
      row.append(element("span", { className: "from", textContent: `from ${percent(threshold)}` }));
    }
    return row;
  }

  // The probabilities of now, with a mark where each was with all windows.
  fill(song) {
    const whole = song.answer.song;
    const now = song.again?.song ?? whole;
    const given = this.thresholds ? (now.predicted ?? "").split(";") : [];
    for (const row of find("label-rows").children) {
      const label = row.querySelector("input").value;
      const [fill, mark] = row.querySelector(".bar").children;
      fill.style.width = `${100 * now[`p_${label}`]}%`;
      mark.hidden = !song.again;
      mark.style.left = `${100 * whole[`p_${label}`]}%`;
      row.querySelector(".share").textContent = percent(now[`p_${label}`]);
      row.classList.toggle("given", given.includes(label));
    }
  }
}

// The list of songs, each with its answer, its progress, or "no answer".

import { count, element, find, percent, verdict } from "./format.js";

const ENDING = 13; // letters of a name that are always seen

function state(song) {
  if (song.answer) {
    const row = song.answer.song;
    return [verdict(row), row.status === "unknown" ? "" : percent(row.confidence)];
  }
  if (song.reason) return ["no answer", ""];
  if (song.progress === null) return ["waiting", ""];
  return song.progress < 1 ? ["sending", percent(song.progress)] : ["working", ""];
}

// The end of a name tells songs of one album apart: only what stands before it is cut.
function name(id) {
  const parts = [["start", id.slice(0, -ENDING)], ["end", id.slice(-ENDING)]];
  const pieces = parts.filter(([, text]) => text).map(([className, textContent]) =>
    element("span", { className, textContent }));
  return element("span", { className: "song-id", title: id }, ...pieces);
}

function item(song, chosen, choose) {
  const [what, share] = state(song);
  const button = element(
    "button",
    { type: "button", className: song.reason ? "song failed" : "song", onclick: () => choose(song) },
    name(song.id),
    element("span", { className: song.answer ? "song-says" : "song-says faint", textContent: what }),
    element("span", { className: "song-share", textContent: share }),
  );
  if (song === chosen) button.setAttribute("aria-current", "true");
  const rail = element("i", { className: "rail" });
  const share01 = song.answer ? song.answer.song.confidence : song.reason ? 0 : song.progress ?? 0;
  rail.style.setProperty("--share", String(share01));
  if (!song.answer && !song.reason) rail.classList.add(song.progress === 1 ? "busy" : "moving");
  button.append(rail);
  return element("li", {}, button);
}

export function showList(songs, chosen, choose) {
  const place = find("list");
  const focused = place.contains(document.activeElement)
    ? [...place.querySelectorAll("button")].indexOf(document.activeElement) : -1;
  place.replaceChildren(...songs.map((song) => item(song, chosen, choose)));
  if (focused >= 0) place.querySelectorAll("button")[focused]?.focus();
  const left = songs.filter((song) => !song.answer && !song.reason).length;
  find("songs-title").textContent = count(songs.length, "song") + (left ? `, ${left} to go` : "");
  for (const id of ["save-csv", "save-windows", "save-json"]) {
    find(id).disabled = left === songs.length;
  }
}

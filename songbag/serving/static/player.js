// The transport of a player: button, clock, position and length.

import { find, time } from "./format.js";

const ICONS = { play: "M8 5v14l11-7z", pause: "M7 5h4v14H7zM13 5h4v14h-4z" };

export function showPlaying(playing) {
  find("play").setAttribute("aria-label", playing ? "Pause" : "Play");
  find("play-icon").setAttribute("d", playing ? ICONS.pause : ICONS.play);
}

export function showLength(seconds) {
  find("position").max = seconds;
  find("length").textContent = time(seconds);
}

export function showTime(seconds) {
  const { max } = find("position");
  find("clock").textContent = time(seconds);
  find("position").value = seconds;
  find("position").setAttribute("aria-valuetext", `${time(seconds)} of ${time(Number(max))}`);
}

"use strict";
// Replace the browser's audio controls by buttons, play one excerpt at a time and mark its window.
// Without this script the browser's own controls stay.
let stop = () => {};
for (const audio of document.querySelectorAll(".listen audio")) {
  const item = audio.closest("li");
  const button = item.querySelector("button");
  const here = item.closest(".song").querySelector(".here");
  const end = () => {
    audio.pause();
    audio.currentTime = 0;
    button.setAttribute("aria-pressed", "false");
    here.hidden = true;
  };
  audio.controls = false;
  audio.hidden = true;
  button.hidden = false;
  button.addEventListener("click", () => {
    const playing = button.getAttribute("aria-pressed") === "true";
    stop();
    stop = () => {};
    if (playing) return;
    stop = end;
    here.style.left = audio.dataset.left + "%";
    here.style.width = audio.dataset.width + "%";
    here.hidden = false;
    button.setAttribute("aria-pressed", "true");
    audio.play().catch(end);
  });
  audio.addEventListener("ended", end);
}
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});

// Files that are chosen, dropped, or in dropped folders.

const pick = (entry) => new Promise((resolve, reject) => entry.file(resolve, reject));

async function inside(folder) {
  const reader = folder.createReader();
  const entries = [];
  for (;;) {
    // Chromium returns at most a hundred entries per call.
    const batch = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!batch.length) break;
    entries.push(...batch);
  }
  entries.sort((a, b) => a.name.localeCompare(b.name));
  return (await Promise.all(entries.map(under))).flat();
}

async function under(entry) {
  if (entry.isDirectory) return inside(entry);
  return entry.name.startsWith(".") ? [] : [await pick(entry)];
}

async function dropped(transfer) {
  // Entries must be taken before the first await: the list is emptied after it.
  const items = [...transfer.items].filter((item) => item.kind === "file");
  const entries = items.map((item) => item.webkitGetAsEntry?.());
  const files = items.map((item) => item.getAsFile());
  const each = entries.map((entry, k) => (entry?.isDirectory ? inside(entry) : [files[k]]));
  return (await Promise.all(each)).flat().filter(Boolean);
}

export function takeFiles({ buttons, input, veil, take }) {
  for (const button of buttons) button.addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    take([...input.files]);
    input.value = "";
  });
  let depth = 0;
  const carries = (event) => event.dataTransfer?.types.includes("Files");
  const show = (shown) => (veil.hidden = !shown);
  addEventListener("dragenter", (event) => carries(event) && show(++depth > 0));
  addEventListener("dragleave", (event) => carries(event) && show(--depth > 0));
  addEventListener("dragover", (event) => carries(event) && event.preventDefault());
  addEventListener("drop", async (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    depth = 0;
    show(false);
    take(await dropped(event.dataTransfer));
  });
}

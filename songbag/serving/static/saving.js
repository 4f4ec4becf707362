// The answers as files, with the columns that `songbag predict` writes.

function save(name, kind, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: kind }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

const cell = (text) => (/[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
const line = (values) => `${values.map((value) => cell(String(value ?? ""))).join(",")}\n`;

// The row of a song that was not sent.
function localRow(song, columns) {
  const known = { id: song.id, status: "failed", reason: song.reason, warnings: song.message };
  return Object.fromEntries(columns.map((name) => [name, known[name] ?? null]));
}

const ended = (songs) => songs.filter((song) => song.answer || song.reason);
const row = (song, columns) =>
  song.answer?.song ?? song.refused?.song ?? localRow(song, columns.songs);

function csv(songs, columns, part) {
  const rows = ended(songs).map((song) => {
    const text = (song.answer ?? song.refused)?.csv?.[part];
    if (text !== undefined) return text.slice(text.indexOf("\n") + 1);
    if (part === "windows") return "";
    return line(columns.songs.map((name) => row(song, columns)[name]));
  });
  return line(columns[part]) + rows.join("");
}

export function saveSongs(songs, columns) {
  save("predictions.csv", "text/csv", csv(songs, columns, "songs"));
}

export function saveWindows(songs, columns) {
  save("predictions-windows.csv", "text/csv", csv(songs, columns, "windows"));
}

export function saveJson(songs, columns) {
  const rows = ended(songs).map((song) => ({
    ...row(song, columns),
    windows_detail: song.answer?.windows ?? [],
  }));
  save("predictions.json", "application/json", `${JSON.stringify(rows, null, 1)}\n`);
}

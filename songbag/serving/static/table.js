// Every window as a row, for reading and for copying.

import { element, find, percent, signed, time } from "./format.js";

const MOST = 400; // rows a browser lays out without a pause

export function showTable(windows, labels, label, values, choose) {
  const columns = labels.slice(0, 8);
  const heads = ["window", "from", "to", `adds to ${label}`, ...columns];
  find("window-heads").replaceChildren(
    ...heads.map((textContent) => element("th", { scope: "col", textContent })),
  );
  const rows = windows.slice(0, MOST).map((row, k) => {
    const pick = element("button", { type: "button", className: "quiet", textContent: String(k + 1) });
    pick.setAttribute("aria-label", `Choose window ${k + 1}`);
    pick.onclick = () => choose(k);
    const cells = [
      time(row.begin, 2),
      time(row.finish, 2),
      values[k] === null ? "left out" : signed(values[k]),
      ...columns.map((name) => percent(row[`p_${name}`])),
    ].map((textContent) => element("td", { textContent }));
    return element("tr", {}, element("th", { scope: "row" }, pick), ...cells);
  });
  find("window-rows").replaceChildren(...rows);
  const left = [];
  if (windows.length > MOST) left.push(`${windows.length - MOST} more windows`);
  if (labels.length > columns.length) left.push(`${labels.length - columns.length} more labels`);
  find("cut").hidden = !left.length;
  find("cut").textContent = `${left.join(" and ")} are in the saved file of windows.`;
}

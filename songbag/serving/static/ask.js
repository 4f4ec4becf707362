// The dialog that asks for the server's token.

import { find } from "./format.js";

export function askForToken() {
  const dialog = find("ask");
  if (!dialog.open) dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(find("token").value.trim()), { once: true });
  });
}

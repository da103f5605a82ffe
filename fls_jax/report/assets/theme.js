// Light or dark, as the system has it unless the reader says otherwise.

import { choice } from "./dom.js";

/** The control. */
export function themeChoice() {
  const options = [["auto", "as the system"], ["light", "light"], ["dark", "dark"]];
  return choice("Colours", options, "auto", (theme) => {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
  }).element;
}

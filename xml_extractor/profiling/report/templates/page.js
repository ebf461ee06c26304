"use strict";
// Light or dark: as the system says, until the button says otherwise; kept for this browser where it may be.
(() => {
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const key = "xml-extractor-theme";
  const isDark = () => (root.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
  const show = () => {
    const other = isDark() ? "light" : "dark";
    button.textContent = other === "dark" ? "Dark theme" : "Light theme";
  };
  try {
    const kept = localStorage.getItem(key);
    if (kept === "light" || kept === "dark") root.dataset.theme = kept;
  } catch {
    // A page opened from a file may not be allowed to keep anything.
  }
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try {
      localStorage.setItem(key, root.dataset.theme);
    } catch {
      // Then it holds for this page alone.
    }
    show();
  });
  system.addEventListener("change", show);
  button.hidden = false;
  show();
})();

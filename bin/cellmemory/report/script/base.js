// What the rest of the page's script builds on: the data, texts, elements, saved files, and the theme.

const DATA = JSON.parse(document.getElementById("data").textContent);
const NARROW = 560;
// Pixels from a cell to the middle of the name above it.
const ABOVE = 12;
const PRINTED = 700;
const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif';
const THEMES = DATA.themes;

const TYPES = { u1: Uint8Array, u2: Uint16Array, u4: Uint32Array, f4: Float32Array };
const unpack = ({ type, data }) => new TYPES[type](Uint8Array.from(atob(data), (c) => c.charCodeAt(0)).buffer);
// plotly reads a subset of HTML in text; names from data are shown as they are.
const escaped = (name, length = 80) => {
  const one = String(name).split(/\s+/).join(" ");
  const cut = one.length <= length ? one : one.slice(0, length - 1) + "…";
  return cut.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
};
const element = (tag, attributes = {}, text = "") => {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.textContent = text;
  return node;
};
const fill = (select, names) => names.forEach((name, i) => select.append(element("option", { value: i }, name)));
const count = (n) => n.toLocaleString("en");
const quantile = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];

function save(name, type, content) {
  const link = element("a", { download: name, href: URL.createObjectURL(new Blob([content], { type })) });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function csvText(rows) {
  const cell = (value) => {
    let text = value === null ? "" : String(value);
    // A spreadsheet must not take a name for a formula: the rule of spreadsheet.py.
    const formula = /^'*(\s*[=+\-@＝＋－＠]|[\t\r\n])/.test(text) && !/^'*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/.test(text);
    if (typeof value === "string" && formula) text = `'${text}`;
    return /[",\n\r]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
  };
  return rows.map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}

const fileName = (id, end) => `${document.title.split(" · ")[0]}.${id}`.replace(/[^A-Za-z0-9._-]+/g, "_") + "." + end;

const system = matchMedia("(prefers-color-scheme: dark)");
let choice = "auto";
try { choice = localStorage.getItem("cellmemory-theme") || "auto"; } catch { /* storage may be shut for files */ }
let theme = "light";
let printing = false;
function applyTheme() {
  theme = choice === "auto" ? (system.matches ? "dark" : "light") : choice;
  document.documentElement.dataset.theme = theme;
  document.getElementById("theme").textContent = `Theme: ${choice}`;
}

// Tables that are sorted, filtered, shown part by part and saved as CSV.

const PAGE = 15;
const shownValue = {
  text: (v) => String(v), score: (v) => v, label: (v) => v, verdict: (v) => v, count: (v) => count(v), p: (v) => format(v),
  // Through a number once more: a small value below 0 is 0, not -0.
  number: (v) => (Math.abs(v) < 10 ? (+v.toFixed(3)).toFixed(3) : Math.abs(v) < 100 ? v.toFixed(1) : count(Math.round(v))),
  share: (v) => (v !== 0 && Math.abs(v) < 0.001 ? (100 * v).toPrecision(2) : (100 * v).toFixed(1)) + "%",
};
const VERDICTS = { use: "use", check: "check", "don't use": "dont" };
const isNumber = (kind) => ["number", "count", "share", "p"].includes(kind);
const atRight = (kind) => isNumber(kind) || kind === "score";
const COLOUR = new Map(CELLS.colours.labels.map((label, i) => [label, CELLS.colours.values[i]]));

class Table {
  constructor(node) {
    this.node = node;
    this.spec = DATA.tables[node.dataset.table];
    this.rows = this.spec.rows;
    this.texts = this.rows.map((row) => row.map((value) => String(value ?? "")).join("\u0000").toLowerCase());
    this.limit = PAGE;
    this.sort = null;
    const head = element("tr");
    this.heads = this.spec.columns.map(([title, kind], i) => {
      const cell = element("th", { scope: "col", ...(atRight(kind) ? { class: "right" } : {}) });
      const words = DATA.explained[title];
      const button = element("button", { type: "button", ...(words ? { title: words } : {}) }, title);
      button.addEventListener("click", () => this.sortBy(i));
      cell.append(button);
      head.append(cell);
      return cell;
    });
    const table = node.querySelector("table");
    this.body = element("tbody");
    const top = element("thead");
    top.append(head);
    table.append(top, this.body);
    this.filter = node.querySelector("input");
    node.querySelector(".find").hidden = this.rows.length < 6;
    this.filter.addEventListener("input", () => { this.limit = PAGE; this.draw(); });
    node.querySelector(".more button").addEventListener("click", () => { this.limit *= 5; this.draw(); });
    node.querySelector('[data-save="csv"]').addEventListener("click", () => this.export());
    this.draw();
  }
  sortBy(column) {
    const kind = this.spec.columns[column][1];
    const first = kind === "share" || kind === "number" || (kind === "count" && this.spec.columns[column][0] === "Cells") ? -1 : 1;
    this.sort = this.sort && this.sort.column === column ? { column, way: -this.sort.way } : { column, way: first };
    this.heads.forEach((head, i) => (i === column ? head.setAttribute("aria-sort", this.sort.way > 0 ? "ascending" : "descending") : head.removeAttribute("aria-sort")));
    this.draw();
  }
  found() {
    const words = this.filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let rows = this.rows.filter((_, i) => words.every((word) => this.texts[i].includes(word)));
    if (this.sort) {
      const { column, way } = this.sort;
      const number = isNumber(this.spec.columns[column][1]);
      // Empty cells come last, whichever way.
      rows = [...rows].sort((a, b) => {
        const [x, y] = [a[column], b[column]];
        if (x === null || y === null) return (x === null) - (y === null);
        return way * (number ? x - y : String(x).localeCompare(String(y), "en", { numeric: true }));
      });
    }
    return rows;
  }
  draw() {
    const rows = this.found();
    this.body.replaceChildren(...rows.slice(0, this.limit).map((row) => this.row(row)));
    const all = this.rows.length;
    this.node.querySelector(".hint").textContent = all < 6 ? "" : rows.length === all ? `${count(all)} rows` : `${count(rows.length)} of ${count(all)} rows`;
    this.node.querySelector(".more").hidden = rows.length <= this.limit;
  }
  row(values) {
    const line = element("tr");
    values.forEach((value, i) => {
      const kind = this.spec.columns[i][1];
      const cell = element("td", atRight(kind) ? { class: "right" } : {});
      const text = value === null ? "–" : shownValue[kind](value);
      if (kind === "label" && COLOUR.has(value)) {
        const dot = element("span", { class: "dot" });
        dot.style.background = COLOUR.get(value);
        cell.classList.add("named");
        cell.append(dot);
      }
      if (kind === "share" && value !== null && value <= 1 && !this.spec.columns[i][0].startsWith("Attention")) {
        const bar = element("span", { class: "share", "aria-hidden": "true" });
        const part = element("i");
        part.style.width = `${100 * Math.max(0, value)}%`;
        bar.append(part);
        cell.append(bar);
      }
      if (kind === "verdict") cell.append(element("span", { class: `verdict ${VERDICTS[value]}` }, text));
      else cell.append(isNumber(kind) ? text : element("span", { class: text.length > 60 ? "text wide" : text.length > 24 ? "text middle" : "text" }, text));
      line.append(cell);
    });
    return line;
  }
  csv() {
    return csvText([this.spec.columns.map(([title]) => title), ...this.found()]);
  }
  export() {
    save(fileName(this.spec.id, "csv"), "text/csv;charset=utf-8", this.csv());
  }
}

// Cells that are chosen on the map or the tissue with the lasso or the box: what they are, their genes, and their names as a file.

// Genes that are named, and the share of the chosen cells that has to express one.
const NAMED_GENES = 8, LEAST_EXPRESSING = 0.25;
// Fewer cells on a side say nothing about genes.
const FEWEST_COMPARED = 5;

class Selection {
  constructor(explorer) {
    this.explorer = explorer;
    this.node = explorer.node.querySelector(".selected");
    this.rows = [];
    this.node.querySelector("button").addEventListener("click", () => save(fileName(`${explorer.id}.cells`, "csv"), "text/csv;charset=utf-8", this.csv()));
  }
  // plotly makes the node's events with its first figure.
  listen() {
    const { node } = this.explorer.plot;
    if (this.listening || !node.on) return;
    this.listening = true;
    // Points of the reference have no number of a cell.
    node.on("plotly_selected", (event) => this.choose((event ? event.points : []).map((point) => point.customdata).filter(Number.isInteger)));
    node.on("plotly_deselect", () => this.choose([]));
  }
  choose(rows) {
    this.rows = rows;
    this.node.hidden = !rows.length;
    this.node.querySelector("p").textContent = rows.length ? [this.labels(), this.genes()].filter(Boolean).join(" ") : "";
  }
  labels() {
    const label = CELLS.columns[0];
    const counts = new Map();
    for (const i of this.rows) counts.set(label.levels[label.codes[i]], (counts.get(label.levels[label.codes[i]]) || 0) + 1);
    const parts = [...counts].sort((a, b) => b[1] - a[1]).map(([name, n]) => `${count(n)} ${name}`);
    const shown = parts.length > 6 ? [...parts.slice(0, 5), `${count(parts.length - 5)} other labels`] : parts;
    return `${count(this.rows.length)} of ${count(this.explorer.chosen().length)} cells drawn: ${shown.join(", ")}.`;
  }
  genes() {
    const all = this.explorer.chosen();
    const others = all.length - this.rows.length;
    if (!GENES || this.rows.length < FEWEST_COMPARED || others < FEWEST_COMPARED) return "";
    const side = new Uint8Array(SAMPLE.length);
    for (const i of all) side[i] = 1;
    for (const i of this.rows) side[i] = 2;
    const found = GENES.names.map((name, gene) => {
      const sums = [0, 0, 0];
      let expressing = 0;
      for (let k = GENES.start[gene]; k < GENES.start[gene + 1]; k += 1) {
        sums[side[GENES.cells[k]]] += GENES.expression[k];
        if (side[GENES.cells[k]] === 2 && GENES.expression[k]) expressing += 1;
      }
      const difference = ((sums[2] / this.rows.length - sums[1] / others) / 255) * GENES.tops[gene][0];
      return { name, difference, share: expressing / this.rows.length };
    });
    const higher = found.filter(({ difference, share }) => difference > 0 && share >= LEAST_EXPRESSING).sort((a, b) => b.difference - a.difference);
    return higher.length ? `Highest above the other cells drawn: ${higher.slice(0, NAMED_GENES).map(({ name }) => name).join(", ")}.` : "";
  }
  csv() {
    // Ours come before the user's, which may have the same names.
    const columns = ["Label", "Best guess", "Confidence", "Status"].map((title) => CELLS.columns.find((column) => column.title === title));
    const value = (column, i) => (column.kind !== "names" ? (Number.isNaN(column.values[i]) ? null : +column.values[i].toPrecision(4)) : column.codes[i] === NONE ? null : column.levels[column.codes[i]]);
    const rows = this.rows.map((i) => [CELLS.ids[i], CELLS.samples[SAMPLE[i]], ...columns.map((column) => value(column, i))]);
    return csvText([["Cell", "Sample", ...columns.map((column) => column.title)], ...rows]);
  }
}

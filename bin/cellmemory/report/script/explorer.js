// The map and the tissue: cells as points, coloured by what is chosen, with the attention to a gene beside its expression.

const CELLS = DATA.cells;
const SAMPLE = unpack(CELLS.sample);
for (const space of Object.values(CELLS.spaces)) Object.assign(space, { x: unpack(space.x), y: unpack(space.y) });
for (const part of CELLS.reference) Object.assign(part, { x: unpack(part.x), y: unpack(part.y), label: unpack(part.label) });
for (const column of CELLS.columns) {
  if (column.kind === "names") column.codes = unpack(column.codes);
  else {
    // Numbers come in 65,535 steps between the lowest and the highest; the last code means that there is none.
    const { from, to } = column;
    column.values = Float32Array.from(unpack(column.codes), (code) => (code === 65535 ? NaN : from + ((to - from) * code) / 65534));
  }
}
const GENES = CELLS.genes;
if (GENES) Object.assign(GENES, { cells: unpack(GENES.cells), expression: unpack(GENES.expression), attention: GENES.attention && unpack(GENES.attention) });
const NONE = 65535;
const pointSize = (n) => (n < 1500 ? 6 : n < 5000 ? 4.5 : n < 15000 ? 3.4 : 2.6);
const format = (value) => (value === 0 || (Math.abs(value) >= 0.001 && Math.abs(value) < 1e5) ? String(+value.toPrecision(3)) : value.toExponential(1));

class Explorer {
  constructor(node) {
    this.node = node;
    this.id = node.dataset.explorer;
    this.space = CELLS.spaces[DATA.explorers[this.id].space];
    this.isMap = DATA.explorers[this.id].space === "umap";
    this.plot = new Plot(node.querySelector(".plot.tall"), CHOOSING);
    this.selection = new Selection(this);
    this.genePlot = new Plot(node.querySelector(".plot.genes"), ZOOMING);
    this.input = Object.fromEntries([...node.querySelectorAll("[data-choice]")].map((control) => [control.dataset.choice, control]));
    this.together = this.isMap && CELLS.one_map;
    fill(this.input.colour, CELLS.columns.map((column) => column.title));
    if (this.together && CELLS.samples.length > 1) this.input.sample.append(element("option", { value: "all" }, "all"));
    for (const i of this.space.samples) this.input.sample.append(element("option", { value: i }, CELLS.samples[i]));
    node.querySelector('[data-for="sample"]').hidden = this.input.sample.options.length < 2;
    node.querySelector('[data-for="reference"]').hidden = !this.isMap || !CELLS.reference.length;
    this.input.names.closest("label").hidden = !this.isMap;
    this.input.names.checked = CELLS.columns[0].levels.length <= 30;
    for (const key of ["colour", "reference", "names"]) this.input[key].addEventListener("change", () => this.show());
    SAMPLE_CHOICES.push(this.input.sample);
    this.input.sample.addEventListener("change", () => { this.show(); this.showGene(); });
    for (const button of node.querySelectorAll(".bar [data-save]")) {
      button.addEventListener("click", () => (button.dataset.of ? this.genePlot.save(`${this.id}.${this.input.gene.value}`, button.dataset.save) : this.plot.save(this.id, button.dataset.save)));
    }
    node.querySelector(".gene-part").hidden = !GENES;
    if (GENES) this.startGenes();
  }
  startGenes() {
    const list = this.node.querySelector("datalist");
    for (const name of GENES.names) list.append(element("option", { value: name }));
    this.input.gene.value = GENES.names[0];
    this.input.gene.addEventListener("change", () => this.showGene());
    this.input.gene.addEventListener("input", () => { if (GENES.names.includes(this.input.gene.value)) this.showGene(); });
  }
  chosen() {
    const sample = this.input.sample.value;
    const keep = [];
    for (let i = 0; i < SAMPLE.length; i += 1) if ((sample === "all" || SAMPLE[i] === +sample) && !Number.isNaN(this.space.x[i])) keep.push(i);
    return keep;
  }
  reference() {
    if (!this.isMap) return null;
    return CELLS.reference.find((part) => this.together || part.sample === +this.input.sample.value) || null;
  }
  layout(height, more = {}) {
    const axis = { showgrid: false, zeroline: false, showticklabels: false, title: { text: this.isMap ? "UMAP 1" : "" } };
    const key = this.input.sample.value;
    return {
      height, uirevision: key, xaxis: { ...axis }, yaxis: { ...axis, title: { text: this.isMap ? "UMAP 2" : "" }, ...(this.isMap ? {} : { autorange: "reversed" }), scaleanchor: "x" },
      margin: { l: 24, r: 10, t: 26, b: 26 }, dragmode: this.plot.node.clientWidth < 700 ? false : "pan", ...more,
    };
  }
  // A round length in the units of the coordinates, below the tissue at its left.
  scaleBar(rows) {
    const sample = +this.input.sample.value;
    const length = this.space.bars ? this.space.bars[sample] : 0;
    if (!length) return { shapes: [], annotations: [] };
    const { x, y } = this.space;
    const [left, low, high] = rows.reduce(([l, a, b], i) => [Math.min(l, x[i]), Math.min(a, y[i]), Math.max(b, y[i])], [Infinity, Infinity, -Infinity]);
    const level = high + 0.08 * (high - low || length);
    const text = { x: left + length / 2, y: level, text: format(length), showarrow: false, yanchor: "bottom", font: { size: 11, color: "@ink" } };
    return { shapes: [{ type: "line", x0: left, x1: left + length, y0: level, y1: level, line: { color: "@ink", width: 2 } }], annotations: [text] };
  }
  referenceTraces(mode) {
    const part = this.reference();
    if (!part || mode === "none") return [];
    const size = Math.max(2, pointSize(part.x.length) - 1);
    const trace = (rows, name, colour, more) => ({
      type: "scattergl", mode: "markers", name, x: rows.map((i) => part.x[i]), y: rows.map((i) => part.y[i]), hoverinfo: "text",
      hovertext: rows.map((i) => `reference<br>${escaped(CELLS.colours.labels[part.label[i]] ?? "")}`), marker: { size, color: colour, opacity: 0.55 }, ...more,
    });
    const rows = [...part.x.keys()];
    if (mode === "grey") return [trace(rows, "reference", THEMES[theme].reference, { meta: { reference: true } })];
    const labels = CELLS.colours.labels.map((label, code) => [label, code, rows.filter((i) => part.label[i] === code)]).filter(([, , own]) => own.length);
    return labels.map(([label, code, own]) => trace(own, `ref. ${escaped(label, 26)}`, CELLS.colours.values[code], { legendgroup: "reference", marker: { size: size + 1, color: CELLS.colours.values[code], opacity: 0.35, symbol: "circle-open" } }));
  }
  hover(rows) {
    const label = CELLS.columns[0];
    const confidence = CELLS.columns.find((column) => column.title === "Confidence");
    const novelty = CELLS.columns.find((column) => column.title === "Novelty p");
    const named = (column, i) => escaped(column.levels[column.codes[i]], 60);
    const guess = CELLS.columns[1];
    const name = (i) => named(label, i) + (CELLS.unused.includes(label.levels[label.codes[i]]) ? `, best guess ${named(guess, i)}` : "");
    return rows.map((i) => `${escaped(CELLS.ids[i], 50)}<br><b>${name(i)}</b><br>confidence ${format(confidence.values[i])}, novelty p ${format(novelty.values[i])}`);
  }
  show() {
    const rows = this.chosen();
    const column = CELLS.columns[+this.input.colour.value];
    const size = pointSize(rows.length);
    const base = (own) => ({ type: "scattergl", mode: "markers", x: own.map((i) => this.space.x[i]), y: own.map((i) => this.space.y[i]), hoverinfo: "text", customdata: own });
    const traces = this.referenceTraces(this.input.reference.value);
    let annotations = [];
    if (column.kind === "names") {
      const extra = (i) => escaped(`${column.title}: ${column.codes[i] === NONE ? "none" : column.levels[column.codes[i]]}`, 70);
      column.levels.forEach((level, code) => {
        const own = rows.filter((i) => column.codes[i] === code);
        if (!own.length) return;
        const hover = this.hover(own).map((text, k) => `${text}<br>${extra(own[k])}`);
        traces.push({ ...base(own), name: escaped(level, 30), hovertext: hover, marker: { size, color: column.colours[code], opacity: 0.9 } });
        if (this.isMap && this.input.names.checked && !CELLS.unused.includes(level)) annotations.push(this.nameAt(own, level));
      });
      const without = rows.filter((i) => column.codes[i] === NONE);
      if (without.length) traces.push({ ...base(without), name: "none", hovertext: this.hover(without), marker: { size, color: "@muted", opacity: 0.5 } });
      annotations = this.spreadNames(annotations.slice(0, 60), rows, this.plot.node.parentElement.clientWidth, 540);
    } else {
      const own = rows.filter((i) => !Number.isNaN(column.values[i]));
      const hover = this.hover(own).map((text, k) => `${text}<br>${escaped(column.title, 40)}: ${format(column.values[own[k]])}`);
      traces.push({
        ...base(own), name: escaped(column.title, 30), hovertext: hover, showlegend: false, meta: { scale: column.scale },
        marker: { size, color: own.map((i) => column.values[i]), cmin: column.low, cmax: column.high, opacity: 0.9, reversescale: column.scale === "confidence" && theme === "dark", colorbar: { title: { text: escaped(column.title, 40) } } },
      });
    }
    const bar = this.scaleBar(rows);
    const more = { shapes: bar.shapes, annotations: [...annotations, ...bar.annotations], showlegend: true, legend: { itemsizing: "constant" } };
    const width = this.plot.node.parentElement.clientWidth;
    // Points have other numbers in other traces: what was chosen is let go.
    this.drawn = (this.drawn || 0) + 1;
    Object.assign(more, { selections: [], selectionrevision: this.drawn });
    this.selection.choose([]);
    const shown = this.plot.show({ data: traces, layout: this.layout(width < NARROW ? width : 600, more) });
    return Promise.resolve(shown).then(() => this.selection.listen());
  }
  // A name stands by the cell that lies most among its own, for the middle of two islands is sea.
  nameAt(rows, level) {
    const some = rows.filter((_, k) => k % Math.ceil(rows.length / 120) === 0);
    const { x, y } = this.space;
    const spread = (i) => quantile(some.map((j) => (x[i] - x[j]) ** 2 + (y[i] - y[j]) ** 2).sort((a, b) => a - b), 0.4);
    const best = some.map((i) => [spread(i), i]).reduce((a, b) => (b[0] < a[0] ? b : a))[1];
    return { x: x[best], y: y[best], text: escaped(level, 28), showarrow: false, font: { size: 11, color: "@ink" }, bgcolor: THEMES[theme].halo, borderpad: 1 };
  }
  // Names stand above their cells, which may be few, and move up or down until none covers another, as far as the first view shows.
  spreadNames(names, rows, width, height) {
    const range = (values) => rows.reduce(([low, high], i) => [Math.min(low, values[i]), Math.max(high, values[i])], [Infinity, -Infinity]);
    const [[left, right], [bottom, top]] = [range(this.space.x), range(this.space.y)];
    const scale = Math.min((0.72 * width) / (right - left || 1), height / (top - bottom || 1));
    const placed = [];
    for (const name of [...names].sort((a, b) => b.y - a.y)) {
      const box = { x: name.x * scale, y: name.y * scale, half: 3.2 * name.text.length + 4 };
      const hits = (y) => placed.some((other) => Math.abs(other.x - box.x) < other.half + box.half && Math.abs(other.y - y) < 15);
      const shift = [...Array(24).keys()].map((k) => ABOVE + (k % 2 ? 1 : -1) * Math.ceil(k / 2) * 8).find((k) => !hits(box.y + k)) ?? ABOVE;
      name.yshift = shift;
      placed.push({ ...box, y: box.y + shift });
    }
    return names;
  }
  showGene() {
    if (!GENES) return undefined;
    const hint = this.node.querySelector(".gene-part .hint");
    const wanted = this.input.gene.value.trim();
    const found = GENES.names.findIndex((name) => name.toLowerCase() === wanted.toLowerCase());
    const held = `${count(GENES.names.length)} of ${count(GENES.of)} genes are in this page`;
    if (found < 0) {
      hint.textContent = `${wanted.slice(0, 30)} is not among them: ${held}.`;
      return undefined;
    }
    hint.textContent = held;
    this.input.gene.value = GENES.names[found];
    const rows = this.chosen();
    const values = { expression: new Float32Array(SAMPLE.length), attention: new Float32Array(SAMPLE.length) };
    const [topExpression, topAttention] = GENES.tops[found];
    for (let k = GENES.start[found]; k < GENES.start[found + 1]; k += 1) {
      values.expression[GENES.cells[k]] = (GENES.expression[k] / 255) * topExpression;
      if (GENES.attention) values.attention[GENES.cells[k]] = (GENES.attention[k] / 255) * topAttention;
    }
    const sides = [["expression", "Expression", topExpression], ...(GENES.attention ? [["attention", "Attention", topAttention * 100]] : [])];
    const width = this.genePlot.node.clientWidth;
    const stacked = sides.length === 2 && width < NARROW;
    const data = sides.map(([key, title, top], side) => {
      // High values are drawn last, so that they are not hidden.
      const own = [...rows].sort((a, b) => values[key][a] - values[key][b]);
      const shown = own.map((i) => values[key][i] * (key === "attention" ? 100 : 1));
      const hover = this.hover(own).map((text, k) => `${text}<br>${title.toLowerCase()} ${format(shown[k])}${key === "attention" ? "%" : ""}`);
      const suffix = side ? "2" : "";
      return {
        type: "scattergl", mode: "markers", x: own.map((i) => this.space.x[i]), y: own.map((i) => this.space.y[i]), xaxis: "x" + suffix, yaxis: "y" + suffix, hovertext: hover, hoverinfo: "text",
        showlegend: false, meta: { scale: key },
        marker: { size: pointSize(rows.length), color: shown, cmin: 0, cmax: top || 1, colorbar: { title: { text: key === "attention" ? "attention, %" : "log expression" }, len: 200, x: stacked ? 1.01 : side || sides.length === 1 ? 1.01 : 0.462, y: stacked && side ? 0.42 : 1, yanchor: "top" } },
      };
    });
    const axis = { showgrid: false, zeroline: false, showticklabels: false };
    const up = this.isMap ? {} : { autorange: "reversed" };
    const domains = sides.length === 1 ? [[[0, 1], [0, 1]]] : stacked ? [[[0, 1], [0.56, 1]], [[0, 1], [0, 0.44]]] : [[[0, 0.455], [0, 1]], [[0.545, 1], [0, 1]]];
    const layout = { height: stacked ? 640 : 420, uirevision: this.input.sample.value, margin: { l: 10, r: 10, t: 30, b: 10 }, dragmode: width < 700 ? false : "pan", ...this.scaleBar(rows) };
    sides.forEach(([, title], side) => {
      const suffix = side ? "2" : "";
      layout["xaxis" + suffix] = { ...axis, domain: domains[side][0], anchor: "y" + suffix, ...(side ? { matches: "x" } : {}) };
      layout["yaxis" + suffix] = { ...axis, ...up, domain: domains[side][1], anchor: "x" + suffix, ...(side ? { matches: "y" } : { scaleanchor: "x" }) };
      layout.annotations.push({ text: `${GENES.titles[found]}: ${title.toLowerCase()}`, x: domains[side][0][0], y: domains[side][1][1], xref: "paper", yref: "paper", xanchor: "left", yanchor: "bottom", showarrow: false, font: { size: 13, color: "@ink" } });
    });
    return this.genePlot.show({ data, layout });
  }
  async start() {
    await this.show();
    await this.showGene();
  }
}

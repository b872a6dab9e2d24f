"use strict";
(() => {
  const DATA = JSON.parse(document.getElementById("data").textContent);
  const NARROW = 560;
  // Pixels from a cell to the middle of the name above it.
  const ABOVE = 12;
  const PRINTED = 700;
  const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif';
  const THEMES = DATA.themes;

  // ---------- small helpers ----------

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

  const fileName = (id, end) => `${document.title.split(" · ")[0]}.${id}`.replace(/[^A-Za-z0-9._-]+/g, "_") + "." + end;

  // ---------- theme ----------

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

  // ---------- plots ----------

  const scale = (name, colours) => colours.scales[name].map((colour, i, all) => [i / (all.length - 1), colour]);

  function themed(value, colours, key = "") {
    if (Array.isArray(value)) return key === "color" || typeof value[0] === "object" ? value.map((item) => themed(item, colours)) : value;
    if (value === null || typeof value !== "object") return key === "color" && colours[value] ? colours[value] : value;
    if (ArrayBuffer.isView(value)) return value;
    const copy = {};
    for (const [name, item] of Object.entries(value)) copy[name] = themed(item, colours, name);
    return copy;
  }

  // A trace that stands for many: one for each of the values in meta.each.
  function expanded({ meta, ...trace }) {
    if (!meta || !meta.each) return [meta ? { ...trace, meta } : trace];
    return meta.each.name.map((_, i) => ({ ...trace, ...Object.fromEntries(Object.entries(meta.each).map(([key, all]) => [key, all[i]])) }));
  }

  // What is shown over the cells of a heatmap; names are escaped already.
  function cellWords({ z, meta }) {
    const share = (value) => (100 * value).toPrecision(3) + "%";
    const fill = { row: (r) => meta.rows[r], column: (_, c) => meta.columns[c], share: (r, c) => share(z[r][c]), value: (r, c) => count(z[r][c]) };
    return z.map((line, r) => line.map((_, c) => meta.words.replace(/\{(row|column|share|value)\}/g, (_all, key) => fill[key](r, c))));
  }

  // The figure as plotly draws it at a width: theme, fonts, margins, and for narrow screens the legend below.
  function dressed(figure, width, colours) {
    const narrow = width < NARROW;
    const data = themed(figure.data, colours).flatMap(expanded);
    const layout = themed(figure.layout, colours);
    for (const trace of data) {
      const name = trace.meta && trace.meta.scale;
      if (trace.type === "heatmap") trace.hoverinfo = "text";
      if (name) (trace.type === "heatmap" ? trace : trace.marker).colorscale = scale(name, colours);
      if (trace.type === "heatmap" && trace.meta.words) trace.hovertext = cellWords(trace);
      const holder = trace.colorbar ? trace : trace.marker && trace.marker.colorbar ? trace.marker : null;
      if (holder) {
        const bar = { thickness: 10, outlinewidth: 0, ticklen: 3, tickcolor: "rgba(0,0,0,0)", lenmode: "pixels", len: Math.max(90, Math.min(220, layout.height - 190)), y: 1, yanchor: "top", x: 1.01, tickfont: { size: 11 }, nticks: 6, ...holder.colorbar };
        holder.colorbar = { ...bar, title: { font: { size: 11, color: colours["@muted"] }, ...bar.title, side: "right" } };
      }
    }
    const axis = { gridcolor: colours["@line"], zerolinecolor: colours["@line"], linecolor: colours["@line"], automargin: true, tickfont: { size: 12 }, ticks: "" };
    for (const key of Object.keys(layout).filter((name) => /^[xy]axis\d*$/.test(name))) {
      const own = layout[key];
      layout[key] = { ...axis, ...own };
      if (own.tickvals) Object.assign(layout[key], { showgrid: false, zeroline: false });
      if (own.title) layout[key].title = { font: { size: 12, color: colours["@muted"] }, standoff: 8, ...own.title };
      if (narrow && own.ticktext) layout[key].ticktext = own.ticktext.map((name) => (name.length > 18 && !name.includes("&") ? name.slice(0, 17) + "…" : name));
    }
    const legend = { font: { size: 12 }, bgcolor: "rgba(0,0,0,0)", ...layout.legend };
    const margin = { l: 10, r: narrow ? 22 : 14, t: 16, b: layout.xaxis && layout.xaxis.side === "top" ? 6 : 36, ...layout.margin };
    if (narrow && legend.orientation !== "h") {
      const names = data.filter((trace) => trace.showlegend !== false).map((trace) => String(trace.name ?? ""));
      // A legend of very many names would be longer than the figure; a tap on a cell tells its label as well.
      if (names.length > 30) layout.showlegend = false;
      else {
        Object.assign(legend, { orientation: "h", x: 0, xanchor: "left", yref: "container", y: 0, yanchor: "bottom", font: { size: 11 } });
        // plotly puts names side by side, each as wide as the longest.
        const beside = Math.max(1, Math.floor((width - margin.l - margin.r) / (6 * Math.max(...names.map((name) => name.length)) + 46)));
        const space = 17 * Math.ceil(names.length / beside) + 26;
        margin.b += space;
        layout.height += space;
      }
    }
    return {
      data,
      layout: {
        paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { family: FONT, size: 12, color: colours["@ink"] },
        modebar: { bgcolor: "rgba(0,0,0,0)", color: colours["@muted"], activecolor: colours["@accent"] }, hoverlabel: { bgcolor: colours.hover, bordercolor: colours["@line"], font: { family: FONT, size: 12, color: colours["@ink"] }, align: "left", namelength: 60 },
        dragmode: false, hovermode: "closest", ...layout, legend, margin, width,
      },
    };
  }

  const CONFIG = { displaylogo: false, responsive: false, displayModeBar: false, scrollZoom: false };
  const ZOOMING = { ...CONFIG, displayModeBar: true, modeBarButtons: [["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]] };

  class Plot {
    constructor(node, config = CONFIG) {
      this.node = node;
      this.config = config;
      this.figure = null;
      Plot.all.push(this);
    }
    show(figure) {
      this.figure = figure;
      return this.draw();
    }
    width() {
      const style = getComputedStyle(this.node.parentElement);
      return Math.max(this.node.parentElement.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight), this.figure.min_width || 0);
    }
    draw() {
      if (!this.figure) return undefined;
      const { data, layout } = dressed(this.figure, printing ? PRINTED : this.width(), THEMES[theme]);
      // A browser prints at once what is there; points drawn by the graphics card come a frame later.
      if (printing) for (const trace of data) if (trace.type === "scattergl") trace.type = "scatter";
      this.node.style.minHeight = layout.height + "px";
      return Plotly.react(this.node, data, layout, this.config);
    }
    // Saved for print on white, whatever the screen shows.
    save(id, format) {
      const width = Math.max(this.width(), 760);
      const { data, layout } = dressed(this.figure, width, THEMES.light);
      const shown = this.node.data || [];
      data.forEach((trace, i) => { if (shown[i] && shown[i].visible !== undefined) trace.visible = shown[i].visible; });
      const image = { ...layout, paper_bgcolor: "#ffffff" };
      Plotly.downloadImage({ data, layout: image, config: CONFIG }, { format, width, height: layout.height, scale: format === "png" ? 2 : 1, filename: fileName(id, "").slice(0, -1) });
    }
  }
  Plot.all = [];

  // A sample that is chosen in one figure is chosen in all.
  const SAMPLE_CHOICES = [];
  let following = false;
  document.addEventListener("change", (event) => {
    if (following || !SAMPLE_CHOICES.includes(event.target)) return;
    following = true;
    for (const select of SAMPLE_CHOICES) {
      if (select !== event.target && [...select.options].some((option) => option.value === event.target.value)) {
        select.value = event.target.value;
        select.dispatchEvent(new Event("change"));
      }
    }
    following = false;
  });

  function startFigure(node) {
    const spec = DATA.figures[node.dataset.figure];
    const plot = new Plot(node.querySelector(".plot"));
    const selects = [...node.querySelectorAll("select")];
    const empty = node.querySelector(".empty");
    const current = () => spec.variants[selects.map((s) => s.value).join(",")];
    const show = () => {
      const figure = current();
      empty.hidden = Boolean(figure);
      plot.node.hidden = !figure;
      for (const button of node.querySelectorAll("[data-save]")) button.disabled = !figure;
      return figure ? plot.show(figure) : (plot.figure = null);
    };
    // The first choice that has something to show comes first.
    if (selects.length && !current()) {
      const first = Object.keys(spec.variants)[0];
      if (first !== undefined) first.split(",").forEach((value, i) => { selects[i].value = value; });
    }
    for (const select of selects) {
      if (select.options.length < 2) select.parentElement.hidden = true;
      select.addEventListener("change", show);
      if (select.dataset.name === "Sample") SAMPLE_CHOICES.push(select);
    }
    for (const button of node.querySelectorAll("[data-save]")) button.addEventListener("click", () => plot.save(node.dataset.figure, button.dataset.save));
    return show;
  }

  // ---------- cells as points ----------

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
      this.plot = new Plot(node.querySelector(".plot.tall"), ZOOMING);
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
      for (const button of node.querySelectorAll("[data-save]")) {
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
      const name = (i) => (label.codes[i] === NONE ? "no label" : escaped(label.levels[label.codes[i]], 60));
      return rows.map((i) => `${escaped(CELLS.ids[i], 50)}<br><b>${name(i)}</b><br>confidence ${format(confidence.values[i])}, novelty p ${format(novelty.values[i])}`);
    }
    show() {
      const rows = this.chosen();
      const column = CELLS.columns[+this.input.colour.value];
      const size = pointSize(rows.length);
      const base = (own) => ({ type: "scattergl", mode: "markers", x: own.map((i) => this.space.x[i]), y: own.map((i) => this.space.y[i]), hoverinfo: "text" });
      const traces = this.referenceTraces(this.input.reference.value);
      let annotations = [];
      if (column.kind === "names") {
        const extra = (i) => escaped(`${column.title}: ${column.codes[i] === NONE ? "none" : column.levels[column.codes[i]]}`, 70);
        column.levels.forEach((level, code) => {
          const own = rows.filter((i) => column.codes[i] === code);
          if (!own.length) return;
          const hover = this.hover(own).map((text, k) => `${text}<br>${extra(own[k])}`);
          traces.push({ ...base(own), name: escaped(level, 30), hovertext: hover, marker: { size, color: column.colours[code], opacity: 0.9 } });
          if (this.isMap && this.input.names.checked) annotations.push(this.nameAt(own, level));
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
      const more = { annotations, showlegend: true, legend: { itemsizing: "constant" } };
      const width = this.plot.node.parentElement.clientWidth;
      return this.plot.show({ data: traces, layout: this.layout(width < NARROW ? width : 600, more) });
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
      const layout = { height: stacked ? 640 : 420, uirevision: this.input.sample.value, margin: { l: 10, r: 10, t: 30, b: 10 }, dragmode: width < 700 ? false : "pan", annotations: [] };
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

  // ---------- tables ----------

  const PAGE = 15;
  const shownValue = {
    text: (v) => String(v), score: (v) => v, label: (v) => v, count: (v) => count(v), p: (v) => format(v),
    // Through a number once more: a small value below 0 is 0, not -0.
    number: (v) => (Math.abs(v) < 10 ? (+v.toFixed(3)).toFixed(3) : Math.abs(v) < 100 ? v.toFixed(1) : count(Math.round(v))),
    share: (v) => (v !== 0 && Math.abs(v) < 0.001 ? (100 * v).toPrecision(2) : (100 * v).toFixed(1)) + "%",
  };
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
        const button = element("button", { type: "button" }, title);
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
        cell.append(isNumber(kind) ? text : element("span", { class: text.length > 60 ? "text wide" : text.length > 24 ? "text middle" : "text" }, text));
        line.append(cell);
      });
      return line;
    }
    csv() {
      const cell = (value) => {
        let text = value === null ? "" : String(value);
        // A spreadsheet must not take a name for a formula: the rule of spreadsheet.py.
        const formula = /^'*(\s*[=+\-@＝＋－＠]|[\t\r\n])/.test(text) && !/^'*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/.test(text);
        if (typeof value === "string" && formula) text = `'${text}`;
        return /[",\n\r]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
      };
      return [this.spec.columns.map(([title]) => title), ...this.found()].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
    }
    export() {
      save(fileName(this.spec.id, "csv"), "text/csv;charset=utf-8", this.csv());
    }
  }

  // ---------- page ----------

  function followSections() {
    const links = new Map([...document.querySelectorAll(".contents a")].map((link) => [link.hash.slice(1), link]));
    const parts = [...document.querySelectorAll("main > section")];
    const mark = () => {
      const line = innerHeight * 0.3;
      const atEnd = innerHeight + scrollY >= document.documentElement.scrollHeight - 4;
      const current = atEnd ? parts[parts.length - 1] : parts.filter((part) => part.getBoundingClientRect().top < line).pop() || parts[0];
      for (const [id, link] of links) {
        if (id !== current.id) link.removeAttribute("aria-current");
        else if (!link.hasAttribute("aria-current")) {
          link.setAttribute("aria-current", "true");
          const list = link.closest("nav");
          if (list.scrollWidth > list.clientWidth) list.scrollTo({ left: link.offsetLeft - list.clientWidth / 3 });
        }
      }
    };
    let waiting = false;
    addEventListener("scroll", () => {
      if (!waiting) requestAnimationFrame(() => { waiting = false; mark(); });
      waiting = true;
    }, { passive: true });
    mark();
  }

  async function start() {
    applyTheme();
    for (const node of document.querySelectorAll("[data-table]")) node.table = new Table(node);
    followSections();
    const explorers = [...document.querySelectorAll("[data-explorer]")].map((node) => new Explorer(node));
    const redraw = () => {
      for (const explorer of explorers) { explorer.show(); explorer.showGene(); }
      for (const plot of Plot.all) if (!explorers.some((e) => e.plot === plot || e.genePlot === plot)) plot.draw();
    };
    const themes = ["auto", "light", "dark"];
    document.getElementById("theme").addEventListener("click", () => {
      choice = themes[(themes.indexOf(choice) + 1) % 3];
      try { localStorage.setItem("cellmemory-theme", choice); } catch { /* storage may be shut for files */ }
      applyTheme();
      redraw();
    });
    system.addEventListener("change", () => { applyTheme(); redraw(); });
    let width = innerWidth;
    let timer = 0;
    addEventListener("resize", () => {
      clearTimeout(timer);
      timer = setTimeout(() => { if (innerWidth !== width) { width = innerWidth; redraw(); } }, 150);
    });
    addEventListener("beforeprint", () => {
      printing = true;
      theme = "light";
      document.documentElement.dataset.theme = theme;
      redraw();
    });
    addEventListener("afterprint", () => { printing = false; applyTheme(); redraw(); });
    // In the order of the page, with a breath between, so that the page answers while it draws.
    for (const node of document.querySelectorAll("[data-figure], [data-explorer]")) {
      if (node.dataset.figure) await startFigure(node)();
      else await explorers.find((explorer) => explorer.node === node).start();
      await new Promise((resolve) => { setTimeout(resolve, 0); });
    }
    document.documentElement.dataset.drawn = "yes";
  }

  start();
})();

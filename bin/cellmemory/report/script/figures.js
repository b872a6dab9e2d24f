// Figures as plotly draws them: colours of the theme, fonts and margins, legends on narrow screens, choices above them.

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
const CHOOSING = { ...ZOOMING, modeBarButtons: [["lasso2d", "select2d"], ...ZOOMING.modeBarButtons] };

// What is folded has no width: it is drawn when it is unfolded.
const isFolded = (node) => node.closest("details:not([open])") !== null;

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
    if (!this.figure || isFolded(this.node)) return undefined;
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

// The page as a whole: its contents, its theme, and the order in which it is drawn.

function followSections() {
  const links = new Map([...document.querySelectorAll(".contents a")].map((link) => [link.hash.slice(1), link]));
  const parts = [...document.querySelectorAll("main section")];
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

// A link to a folded section unfolds it first.
function unfoldOnTheWay(folded) {
  const unfold = (hash) => {
    const target = hash.length > 1 ? document.getElementById(decodeURIComponent(hash.slice(1))) : null;
    if (target && folded.contains(target) && !folded.open) {
      folded.open = true;
      target.scrollIntoView();
    }
  };
  for (const link of document.querySelectorAll(".contents a")) link.addEventListener("click", () => unfold(link.hash));
  addEventListener("hashchange", () => unfold(location.hash));
  unfold(location.hash);
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
  const folded = document.querySelector("details.advanced");
  let unfolded = folded.open;
  const redrawFolded = () => { for (const plot of Plot.all) if (folded.contains(plot.node)) plot.draw(); };
  folded.addEventListener("toggle", redrawFolded);
  unfoldOnTheWay(folded);
  addEventListener("beforeprint", () => {
    unfolded = folded.open;
    folded.open = true;
    printing = true;
    theme = "light";
    document.documentElement.dataset.theme = theme;
    redraw();
  });
  addEventListener("afterprint", () => { printing = false; folded.open = unfolded; applyTheme(); redraw(); });
  // In the order of the page, with a breath between, so that the page answers while it draws.
  for (const node of document.querySelectorAll("[data-figure], [data-explorer]")) {
    if (node.dataset.figure) await startFigure(node)();
    else await explorers.find((explorer) => explorer.node === node).start();
    await new Promise((resolve) => { setTimeout(resolve, 0); });
  }
  document.documentElement.dataset.drawn = "yes";
}

start();

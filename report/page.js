"use strict";
// Filters of the battles, tables sorted by a click on their heads, and figures that tell their values. Without it the
// page shows the same, unfiltered and as images.
for (const browser of document.querySelectorAll(".browser")) {
  const form = browser.querySelector(".filters"), battles = [...browser.querySelectorAll(".battle")];
  const values = battles.map((battle) => JSON.parse(battle.dataset.values));
  const choices = [...form.querySelectorAll("select")];
  const apply = () => {
    let shown = 0;
    battles.forEach((battle, at) => {
      battle.hidden = choices.some((choice) => choice.value && !values[at][choice.dataset.filter].includes(choice.value));
      shown += !battle.hidden;
    });
    form.querySelector("output").textContent = `${shown} of ${battles.length} battles`;
  };
  form.hidden = false;
  form.addEventListener("change", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  apply();
}
const number = (cell) => {
  const value = parseFloat(cell.textContent.replaceAll("\u2212", "-").replaceAll(",", ""));
  return Number.isNaN(value) ? -Infinity : value;
};
for (const table of document.querySelectorAll("table")) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    head.dataset.sortable = "";
    head.title = "sort";
    head.addEventListener("click", () => {
      const rows = [...table.tBodies[0].rows], down = head.dataset.down !== "yes";
      const figures = head.classList.contains("figure");
      rows.sort((one, other) => {
        const a = one.cells[column], b = other.cells[column];
        const order = figures ? number(a) - number(b) : a.textContent.localeCompare(b.textContent);
        return figures === down ? -order : order;
      });
      head.dataset.down = down ? "yes" : "no";
      table.tBodies[0].append(...rows);
    });
  });
}
// A chart is drawn when it comes near the window. Expressions are interpreted, never compiled: the page forbids that.
const options = { mode: "vega-lite", ast: true, renderer: "svg", actions: false, defaultStyle: false,
  tooltip: { disableDefaultStyle: true } };
const draw = (figure) => {
  const image = figure.querySelector("img"), chart = document.createElement("div");
  chart.className = "chart";
  // A finger's tap moves nothing, which is what Vega waits for before it tells a value.
  chart.addEventListener("click", (event) => {
    if (event.pointerType === "touch") event.target.dispatchEvent(new PointerEvent("pointermove", event));
  });
  image.after(chart);
  vegaEmbed(chart, JSON.parse(figure.querySelector("script").textContent), options)
    .then(() => figure.classList.add("live"));
};
const near = new IntersectionObserver((seen) => {
  for (const entry of seen.filter((one) => one.isIntersecting)) {
    near.unobserve(entry.target);
    draw(entry.target);
  }
}, { rootMargin: "600px" });
for (const figure of document.querySelectorAll("figure")) near.observe(figure);
document.querySelector(".hint").hidden = false;
const hide = () => document.querySelector("#vg-tooltip-element")?.classList.remove("visible");
for (const kind of ["scroll", "pointerdown"]) addEventListener(kind, hide, { capture: true, passive: true });

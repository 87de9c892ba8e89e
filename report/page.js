"use strict";
// Filters of the battles, and tables sorted by a click on their heads. Without it the page shows the same, unfiltered.
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

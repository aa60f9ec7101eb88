"use strict";
(() => {
  const root = document.documentElement;

  // Theme: the system's, unless the reader chooses.
  const themes = ["system", "light", "dark"];
  const button = document.getElementById("theme");
  const remembered = () => {
    try {
      return localStorage.getItem("kdcompress-theme");
    } catch {
      return null; // storage is off: the choice lasts as long as the page
    }
  };
  const show = (theme) => {
    if (theme === "system") delete root.dataset.theme;
    else root.dataset.theme = theme;
    button.textContent = `Theme: ${theme}`;
  };
  let theme = themes.includes(remembered()) ? remembered() : "system";
  button.addEventListener("click", () => {
    theme = themes[(themes.indexOf(theme) + 1) % themes.length];
    show(theme);
    try {
      localStorage.setItem("kdcompress-theme", theme);
    } catch {
      // as above
    }
  });
  show(theme);
  button.hidden = false;

  // Tables: a heading sorts by its column, once more turns the order round; what has no figure stays last.
  const sort = (table, column) => {
    const headings = table.tHead.rows[0].cells;
    const heading = headings[column];
    const down = heading.getAttribute("aria-sort") === "ascending";
    for (const other of headings) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    const numeric = heading.classList.contains("number");
    const key = (row) => row.cells[column].dataset.order;
    const rows = [...table.tBodies[0].rows].map((row, at) => [row, key(row), at]);
    rows.sort(([, a, i], [, b, j]) => {
      if (a === undefined || b === undefined) return (a === undefined) - (b === undefined) || i - j;
      const order = numeric || !(isNaN(a) || isNaN(b)) ? a - b : a.localeCompare(b);
      return (down ? -order : order) || i - j;
    });
    table.tBodies[0].append(...rows.map(([row]) => row));
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((heading, column) => {
      const control = document.createElement("button");
      control.type = "button";
      control.append(...heading.childNodes);
      control.addEventListener("click", () => sort(table, column));
      heading.append(control);
    });
  }

  // Worst utterances: by the errors of one model; those that it got right go.
  const order = document.getElementById("worst-order");
  if (order) {
    const list = document.getElementById("worst-list");
    const items = [...list.children];
    order.closest("p").hidden = false;
    order.addEventListener("change", () => {
      const errors = (item) => Number(item.getAttribute(`data-errors-${order.value}`) ?? 0);
      for (const item of items) item.hidden = errors(item) === 0;
      list.append(...[...items].sort((a, b) => errors(b) - errors(a) || items.indexOf(a) - items.indexOf(b)));
    });
  }

  // One model under the pointer: the others step back, on all plots and in all tables.
  const models = [...document.querySelectorAll("[data-model]")];
  const light = (model) => {
    for (const part of models) part.classList.toggle("dim", model !== undefined && part.dataset.model !== model);
  };
  for (const plot of document.querySelectorAll("figure svg")) {
    plot.addEventListener("pointerover", (event) => light(event.target.closest("[data-model]")?.dataset.model));
    plot.addEventListener("pointerleave", () => light());
  }

  // Paper shows everything.
  const opened = [];
  addEventListener("beforeprint", () => {
    for (const part of document.querySelectorAll("details:not([open])")) {
      part.open = true;
      opened.push(part);
    }
  });
  addEventListener("afterprint", () => {
    for (const part of opened.splice(0)) part.open = false;
  });
})();

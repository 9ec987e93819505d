"use strict";
(() => {
  const root = document.documentElement;
  const stored = (value) => {
    try {
      if (value) localStorage.setItem("polyscene-theme", value);
      return localStorage.getItem("polyscene-theme");
    } catch (_) {
      return null;
    }
  };
  if (stored()) root.dataset.theme = stored();
  const button = document.getElementById("theme");
  if (button) {
    button.addEventListener("click", () => {
      const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
      root.dataset.theme = (root.dataset.theme || system) === "dark" ? "light" : "dark";
      stored(root.dataset.theme);
    });
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const sort = head.querySelector("button");
      if (!sort) return;
      sort.addEventListener("click", () => {
        const number = column > 0;
        const before = head.getAttribute("aria-sort");
        const up = before ? before === "descending" : !number;
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const value = (row) => row.cells[column].dataset.value;
        const rows = [...table.tBodies[0].rows].sort((a, b) => {
          const x = value(a), y = value(b);
          if (x === "" || y === "") return (x === "") - (y === "");
          const order = number ? x - y : x.localeCompare(y, undefined, { numeric: true });
          return up ? order : -order;
        });
        table.tBodies[0].append(...rows);
      });
    });
  }

  for (const group of document.querySelectorAll(".pairs")) {
    const select = group.querySelector("select");
    if (!select) continue;
    const pairs = [...group.querySelectorAll(".pair")];
    const show = () => pairs.forEach((pair, i) => { pair.hidden = i !== select.selectedIndex; });
    select.addEventListener("change", show);
    show();
  }

  for (const figure of document.querySelectorAll("svg.flow")) {
    const ribbons = [...figure.querySelectorAll(".ribbon")];
    const follow = (side, index) => ribbons.forEach((ribbon) => {
      ribbon.classList.toggle("off", index !== undefined && ribbon.dataset[side] !== index);
    });
    for (const name of figure.querySelectorAll("text.name")) {
      const side = "a" in name.dataset ? "a" : "b";
      name.addEventListener("mouseenter", () => follow(side, name.dataset[side]));
      name.addEventListener("mouseleave", () => follow(side));
    }
  }

  for (const box of document.querySelectorAll(".scroll.end")) box.scrollLeft = box.scrollWidth;

  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  document.body.append(tip);
  for (const heat of document.querySelectorAll(".heat")) {
    const values = heat.dataset.values.split("|").map((line) => line.split(","));
    const rows = heat.dataset.rows.split("\n"), columns = heat.dataset.columns.split("\n");
    const wide = +heat.dataset.wide, high = +heat.dataset.high, top = +heat.dataset.head;
    const cells = heat.querySelector("svg.cells");
    cells.addEventListener("mousemove", (event) => {
      const box = cells.getBoundingClientRect();
      const j = Math.floor((event.clientX - box.left) / wide), i = Math.floor((event.clientY - box.top - top) / high);
      const value = (values[i] || [])[j];
      tip.hidden = value === undefined || value === "";
      if (tip.hidden) return;
      tip.textContent = `${rows[i]} → ${columns[j]}: ${(value / 100).toFixed(1)} %`;
      const width = tip.offsetWidth;
      tip.style.left = `${Math.max(8, Math.min(event.clientX + 14, innerWidth - width - 8))}px`;
      tip.style.top = `${event.clientY + 16}px`;
    });
    cells.addEventListener("mouseleave", () => { tip.hidden = true; });
  }
})();

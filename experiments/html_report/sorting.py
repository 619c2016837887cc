"""The one script of the page: tables sort by a column on request. Without scripts nothing is lost but that."""

from __future__ import annotations

__all__ = ["SCRIPT"]

SCRIPT = """
for (const table of document.querySelectorAll("table[data-sortable]")) {
  const body = table.tBodies[0];
  const number = (cell) => parseFloat(cell.textContent.replace(/,/g, "").replace("\\u221e", "Infinity"));
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.className = "sort";
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...body.rows].sort((one, two) => {
        const [a, b] = [one.cells[column], two.cells[column]];
        const [x, y] = [number(a), number(b)];
        const order = column && !isNaN(x) && !isNaN(y) ? x - y : a.textContent.localeCompare(b.textContent);
        return down ? -order : order;
      });
      body.append(...rows);
    });
  });
}
"""

"use strict";
// Sorts and searches tables; without it the page shows the same rows in the order in which they were written.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const texts = rows.map((row) => row.textContent.toLowerCase());
  const input = document.querySelector(`input[data-table="${table.id}"]`);
  const status = input.parentElement.querySelector("[role=status]");

  const compare = (one, other) => {
    if (one === other) return 0;
    if (one === "" || other === "") return one === "" ? 1 : -1; // what is missing stays last
    const difference = Number(one) - Number(other);
    return Number.isNaN(difference) ? one.localeCompare(other, "en", { numeric: true }) : difference;
  };

  [...table.tHead.rows[0].cells].forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => {
      const falls = header.getAttribute("aria-sort") !== "descending";
      for (const cell of table.tHead.rows[0].cells) cell.removeAttribute("aria-sort");
      header.setAttribute("aria-sort", falls ? "descending" : "ascending");
      const order = (row) => row.cells[column].dataset.order;
      const sorted = [...rows].sort((a, b) => {
        const isMissing = order(a) === "" || order(b) === "";
        return falls && !isMissing ? compare(order(b), order(a)) : compare(order(a), order(b));
      });
      body.append(...sorted);
    });
  });

  const search = () => {
    const wanted = input.value.trim().toLowerCase().split(/\s+/);
    let shown = 0;
    rows.forEach((row, k) => {
      row.hidden = !wanted.every((word) => texts[k].includes(word));
      shown += row.hidden ? 0 : 1;
    });
    status.textContent = `${shown} of ${rows.length} rows`;
  };
  input.addEventListener("input", search);
  input.parentElement.hidden = false;
  search();
}

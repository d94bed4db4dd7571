// A persona × persona table, its cells coloured by their numbers.
import { html } from "personascope/preact-htm";

function colour(value, centre, reach) {
  const strength = Math.min(Math.abs(value - centre) / reach, 1) * 0.7;
  return `rgb(var(${value >= centre ? "--high" : "--low"}) / ${strength.toFixed(3)})`;
}

/** table: rows of numbers; centre: the number that means nothing; reach: how far from it the colour is full. */
export function Matrix({ names, table, centre, reach, chosen, figure, onPick }) {
  const said = (name) => name.replaceAll("_", " ");
  return html`<div class="matrix"><table data-matrix=${figure}>
    <thead><tr><th></th>${names.map((name) => html`<th key=${name}><span>${said(name)}</span></th>`)}</tr></thead>
    <tbody>
      ${table.map(
        (row, i) => html`<tr key=${names[i]} class=${names[i] === chosen ? "chosen" : ""} onClick=${() => onPick(names[i])}>
          <th scope="row">${said(names[i])}</th>
          ${row.map((value, j) => html`<td key=${j} style="background:${colour(value, centre, reach)}" title="${names[i]} × ${names[j]}: ${value}">${value.toFixed(2)}</td>`)}
        </tr>`,
      )}
    </tbody>
  </table></div>`;
}

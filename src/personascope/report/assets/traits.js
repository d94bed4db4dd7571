// All traits after one token.
import { html } from "personascope/preact-htm";
import { carries, digits, lineColour, reading } from "personascope/data";
import { Doubt } from "personascope/doubt";

const FULL = 6;

function Gauge({ z }) {
  const width = (Math.min(Math.abs(z), FULL) / FULL) * 50;
  const side = z >= 0 ? `left:50%` : `right:50%`;
  const colour = `rgb(var(${z >= 0 ? "--high" : "--low"}))`;
  return html`<div><i style="${side};width:${width}%;background:${colour}"></i><b></b></div>`;
}

export function Traits({ row, layer, token, trait, onTrait }) {
  const rows = row.run.traits.map((one) => ({ ...one, now: reading(row, one.name, layer, token) }));
  return html`<table class=${carries(row, layer) ? "carried" : ""}>
    <thead>
      <tr><th>trait</th><th>z</th><th>value</th><th>cosine</th><th class="gauge">z <small>from −${FULL} to ${FULL}</small></th></tr>
    </thead>
    <tbody>
      ${rows.map(
        ({ name, positive_pole, doubt, now }, index) => html`<tr
          key=${name}
          class=${name === trait ? "chosen" : ""}
          data-trait=${name}
          title=${positive_pole}
          onClick=${() => onTrait(name)}
        >
          <td class="trait"><i class="dot" style="background:${lineColour(index)}"></i>${name.replaceAll("_", " ")} <${Doubt} trait=${{ name, doubt }} /></td>
          <td data-figure="z">${now ? digits(now.z) : "–"}</td>
          <td data-figure="value">${now ? digits(now.value) : "–"}</td>
          <td data-figure="cosine">${now ? digits(now.cosine) : "–"}</td>
          <td class="gauge">${now && html`<${Gauge} z=${now.z} />`}</td>
        </tr>`,
      )}
    </tbody>
  </table>`;
}

// The decision points of a row.
import { html } from "personascope/preact-htm";
import { digits, traitOf, visible } from "personascope/data";
import { Doubt } from "personascope/doubt";

function words(row, token) {
  return row.tokens.slice(token, token + 8).map(visible).join("");
}

function Verdict({ verdict }) {
  if (!verdict) return null;
  const said = verdict.changed ? "confirmed" : "not confirmed";
  return html`<span title="p = ${digits(verdict.p)}, ${verdict.n} continuations on either side">
    ${said}: ${digits(verdict.before)} → ${digits(verdict.after)}
  </span>`;
}

// What moved most; where that may be chance, behind what moved most of the others.
function moved(point) {
  const all = Object.entries(point.moved);
  const most = all.reduce((one, other) => (Math.abs(other[1]) > Math.abs(one[1]) ? other : one));
  return all[0] === most ? [most] : [all[0], most];
}

export function Points({ row, onPick }) {
  if (!row.points.length) return html`<p class="note">No decision points: nothing here exceeds the false-alarm threshold.</p>`;
  return html`<ul class="points">
    ${row.points.map((point) => {
      const verdict = row.verdicts.find((one) => one.token === point.token);
      return html`<li key=${point.token}>
        <button data-token=${point.token} onClick=${() => onPick(point.token)}>
          <span class="at">token ${point.token}</span>
          ${moved(point).map(([key, shift]) => html`<span key=${key}>
            ${key} ${shift >= 0 ? "+" : "−"}${digits(Math.abs(shift))} z <${Doubt} trait=${traitOf(row.run, key)} />
          </span>`)}
          ${point.steering && html`<small class="doubt" title="within two tokens of where a write into the model ${point.steering}: the change is its doing">where steering ${point.steering}</small>`}
          <${Verdict} verdict=${verdict} />
          <span class="words">${words(row, point.token)}</span>
        </button>
      </li>`;
    })}
  </ul>`;
}

// The view of question insertion: points × points, the spectrum, the way along the conversation, and what signatures do.
import { html, useState } from "personascope/preact-htm";
import { digits, lineColour } from "personascope/data";
import { Lines } from "personascope/lines";
import { Matrix } from "personascope/matrix";

const number = (value) => (value === null || value === undefined ? "–" : digits(Number(value.toPrecision(3))));
const within = (interval) => {
  if (!interval) return "–";
  const [estimate, low, high] = interval;
  return low === null ? number(estimate) : html`${number(estimate)} <small>[${number(low)}, ${number(high)}]</small>`;
};

function Overview({ run, chosen, onChoose }) {
  return html`<section class="card pane">
    <h2>Is there one signature?</h2>
    <div class="matrix"><table data-table="parts">
      <thead><tr><th>role</th><th>transcripts</th><th>cosine between points</th><th>explained</th><th>lift</th><th>drift a pair</th><th>p</th><th>corrected</th></tr></thead>
      <tbody>${run.parts.map((part, place) => html`<tr key=${place} data-part=${`${part.role}/${part.arm}`} class=${place === chosen ? "chosen" : ""}>
        <td><button class="link" aria-pressed=${place === chosen} onClick=${() => onChoose(place)}>${part.role}</button></td>
        <td>${part.arm}</td>
        <td data-figure="consistency">${within(part.consistency)}</td>
        <td>${number(part.explained[0])}</td><td>${number(part.lift)}</td>
        <td>${within(part.slope)}</td><td>${number(part.p)}</td><td>${number(part.p_corrected)}</td>
      </tr>`)}</tbody>
    </table></div>
    <p class="note">Cosine: mean over pairs of points, centred by ${run.control}. Explained: the signature's share of the centred means. Lift and drift: projections on the signature, in residual-stream units; each transcript on the signature of the others. 95 % over transcripts. Corrected: p of all rows as one family (Holm).</p>
  </section>`;
}

function Told({ run }) {
  const arms = Object.entries(run.told);
  if (!arms.length) return null;
  return html`<section class="card pane">
    <h2>Are roles told apart?</h2>
    <div class="matrix"><table data-table="told">
      <thead><tr><th>transcripts</th><th>by one state</th><th>by a conversation</th></tr></thead>
      <tbody>${arms.map(([arm, one]) => html`<tr key=${arm}><td>${arm}</td><td data-figure="accuracy">${within(one.accuracy)}</td><td>${within(one.by_conversation)}</td></tr>`)}</tbody>
    </table></div>
    <p class="note">Nearest centroid, learned on other transcripts and other questions; one in ${arms[0][1].roles.length} by chance.</p>
  </section>`;
}

function Doses({ run, role, theme }) {
  const ours = run.doses.filter((dose) => dose.role === role);
  if (!ours.length) return null;
  const sources = [...new Set(ours.map((dose) => dose.source))].filter((source) => source !== "unsteered");
  const start = ours.find((dose) => dose.source === "unsteered");
  const lines = sources.map((source, index) => ({
    name: source, colour: lineColour(index), dashed: source === "random" || source === "no role",
    points: [start, ...ours.filter((dose) => dose.source === source)].map((dose) => [dose.alpha, dose.trait]),
  }));
  return html`<section class="card pane">
    <h2>Steering fresh conversations</h2>
    <${Lines} label="trait by dose" theme=${theme} lines=${lines} xName="α" yName="trait" yMin=${0} yMax=${100} marked=${null} />
    <p class="note">All vectors at the same length, at layer ${run.layer}; trait scores 0–100. <i>own</i>: the direction found by extraction.</p>
  </section>`;
}

export function Insertion({ runs, theme }) {
  const [place, setPlace] = useState(0);
  const run = runs[place];
  const [asked, setChosen] = useState(0);
  const [isCentred, setCentred] = useState(true);
  const chosen = Math.min(asked, run.parts.length - 1);
  const part = run.parts[chosen];
  const same = run.parts.map((one, index) => [one, index]).filter(([one]) => one.role === part.role);
  const means = part.points.map((_, point) => part.scores.reduce((sum, row) => sum + row[point], 0) / part.scores.length);
  const lines = [
    ...part.scores.map((row) => ({ name: "transcripts", colour: "#9a9a9a", points: row.map((value, point) => [part.points[point], value]) })),
    { name: "mean", colour: lineColour(0), points: means.map((value, point) => [part.points[point], value]) },
  ];
  const spectrum = [{ name: "singular value", colour: lineColour(0), points: part.singular_values.map((value, index) => [index + 1, value]) }];
  return html`
    <div class="bar card">
      ${runs.length > 1 && html`<label>run
        <select aria-label="run" value=${place} onChange=${(e) => setPlace(Number(e.target.value))}>
          ${runs.map((each, index) => html`<option value=${index}>${each.title}</option>`)}
        </select></label>`}
      <label>role
        <select aria-label="role" value=${part.role} onChange=${(e) => setChosen(run.parts.findIndex((one) => one.role === e.target.value))}>
          ${[...new Set(run.parts.map((one) => one.role))].map((role) => html`<option value=${role}>${role}</option>`)}
        </select></label>
      <label>transcripts
        <select aria-label="transcripts" value=${chosen} onChange=${(e) => setChosen(Number(e.target.value))}>
          ${same.map(([one, index]) => html`<option value=${index}>${one.arm}</option>`)}
        </select></label>
      <label><input type="checkbox" checked=${isCentred} onChange=${(e) => setCentred(e.target.checked)} /> centred by ${run.control}</label>
      <span class="note">layer ${run.layer}, ${run.questions.length} questions, the state after the last token before each answer</span>
    </div>
    <div class="panes">
    <${Overview} run=${run} chosen=${chosen} onChoose=${setChosen} />
    <${Told} run=${run} />
    <section class="card pane">
      <h2>Cosine between points: ${part.role}, ${part.arm}</h2>
      <${Matrix} names=${part.points.map(String)} table=${isCentred ? part.centred_cosine : part.cosine} centre=${0} reach=${1} chosen="" figure="points" onPick=${() => {}} />
      <p class="note">Points are completed pairs of turns. Raw cosines are high wherever a model has one large common direction; the centred ones are what speaks.</p>
    </section>
    <section class="card pane">
      <h2>Along the conversation</h2>
      <${Lines} label="projection by point" theme=${theme} lines=${lines} xName="pairs of turns" yName="" marked=${null} />
      <p class="note">Projection on the signature of the other transcripts, in residual-stream units.</p>
    </section>
    <section class="card pane">
      <h2>Spectrum of the centred means</h2>
      <${Lines} label="singular values" theme=${theme} lines=${spectrum} xName="component" yName="" yMin=${0} marked=${null} />
    </section>
    <${Doses} run=${run} role=${part.role} theme=${theme} />
    </div>`;
}

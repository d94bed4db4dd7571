// The view of continuous sampling: what stays when steering stops, arm by arm, and who stays longest.
import { html, useState } from "personascope/preact-htm";
import { digits, lineColour } from "personascope/data";
import { Lines } from "personascope/lines";

const ARMS = [
  ["steered", "natural", "steered, natural cache"],
  ["steered", "carried", "steered, carried cache"],
  ["prompted", "natural", "asked by system prompt, then taken away"],
  ["random", "natural", "random direction of equal length"],
  ["random", "carried", "random direction, carried cache"],
];

const number = (value) => (value === null || value === undefined ? "–" : digits(Number(value.toPrecision(3))));

function life(decay) {
  if (decay.verdict === "no lift") return "no lift";
  const [low, high] = decay.half_life_interval;
  if (decay.verdict === "decays slowly") return `more than ${number(low)}`;
  if (decay.half_life === null) return "does not decay";
  return html`${number(decay.half_life)} <small>[${number(low)}, ${high === null ? "∞" : number(high)}]</small>`;
}

function within(decay, name) {
  const [low, high] = decay[`${name}_interval`];
  return html`${number(decay[name])} ${low === null ? "" : html`<small>[${number(low)}, ${number(high)}]</small>`}`;
}

function Ranking({ run, chosen, onChoose }) {
  const ranked = run.ranking.map((one) => one.direction);
  const others = Object.keys(run.alphas).filter((key) => !ranked.includes(key));
  const steered = (key) => run.arms.find((arm) => arm.kind === "steered" && arm.direction === key);
  const verdict = (key) => steered(key).curves[key]?.decay.verdict;
  const decays = Object.fromEntries(run.ranking.map((one) => [one.direction, one]));
  return html`<section class="card pane">
    <h2>Who stays longest</h2>
    <div class="figures"><table data-table="ranking">
      <thead><tr><th>direction</th><th>α</th><th>initial lift</th><th>floor</th><th>half-life, tokens</th><th>area / lift</th><th>rows of use</th></tr></thead>
      <tbody>${[...ranked, ...others].map((key) => html`<tr key=${key} data-direction=${key} class=${key === chosen ? "chosen" : ""}>
        <td><button class="link" aria-pressed=${key === chosen} onClick=${() => onChoose(key)}>${key}</button></td>
        <td>${number(run.alphas[key])}</td>
        ${decays[key]
          ? html`<td>${within(decays[key], "initial")}</td><td>${within(decays[key], "floor")}</td>
              <td data-figure="half_life">${life(decays[key])}</td><td>${number(decays[key].area)}</td>`
          : html`<td colspan="4">left out: ${{ "no lift": "no lift", "one prompt": "one prompt says nothing of others" }[verdict(key)] ?? "most rows loop or failed"}</td>`}
        <td>${steered(key).usable} of ${run.rows}</td>
      </tr>`)}</tbody>
    </table></div>
    <p class="note">${run.cautions?.length > 0 && `Mind: ${run.cautions.join("; ")}. `}Half-lives beyond the ${run.n_sample} tokens sampled are extrapolated, and what does not decay in them may do so later.${run.arms.some((arm) => ["prompted", "random"].includes(arm.kind)) && " The curves below show beside a direction what its controls leave."}</p>
  </section>`;
}

function Texts({ run, chosen }) {
  const [row, setRow] = useState(0);
  const arms = ARMS.map(([kind, cache, name]) => [name, run.arms.find((arm) => arm.kind === kind && arm.cache === cache && arm.direction === chosen)]);
  const still = ["never steered", run.arms.find((arm) => arm.kind === "baseline")];
  return html`<section class="card pane">
    <h2>What was said</h2>
    <p><label>row <select aria-label="row" value=${row} onChange=${(e) => setRow(Number(e.target.value))}>
        ${run.units.map((unit, index) => html`<option value=${index}>${index}: ${run.prompts[unit]}</option>`)}
      </select></label></p>
    <ul class="examples">
      ${[...arms, still].filter(([, arm]) => arm).map(([name, arm]) => html`<li key=${name}>
        <div class="facts">${name}${arm.texts[row].error ? `: failed, ${arm.texts[row].error}` : arm.texts[row].loops ? ": loops, left out" : ""}</div>
        <div><span class="question">${arm.texts[row].steered}</span>${arm.texts[row].after}</div>
      </li>`)}
    </ul>
    <p class="note">In italics the ${run.n_steer} tokens of steering, then the ${run.n_sample} after it.</p>
  </section>`;
}

/** How many decimals numbers up to the largest of these need for four significant digits. */
function decimals(intervals) {
  const largest = Math.max(...intervals.flat().map((value) => Math.abs(value ?? 0)));
  return largest > 0 ? Math.min(Math.max(3 - Math.floor(Math.log10(largest)), 0), 8) : 0;
}

/** With so many decimals; what rounds to nothing has no sign. */
const fixed = (value, places) => value.toFixed(places).replace(/^-(?=[0.]*$)/, "");

const CONTINUED = [
  ["forced", "on one and the same continuation"],
  ["sampled", "on what each goes on to say"],
];

function Crossings({ run, chosen }) {
  const found = run.crossings?.[chosen];
  const why = run.uncrossed?.[chosen];
  if (why) return html`<section class="card pane"><h2>Is it in the text or in the cache?</h2><p class="note">That could not be told: ${why}.</p></section>`;
  if (!found) return null;
  const keys = Object.keys(found.forced.text);
  const places = Object.fromEntries(CONTINUED.map(([where]) => [where, decimals(["text", "cache"].flatMap((of) => Object.values(found[where][of])))]));
  const effect = (where, of, key) => {
    const [estimate, low, high] = found[where][of][key];
    const say = (value) => fixed(value, places[where]);
    return html`${say(estimate)}${low !== null && html` <small>[${say(low)}, ${say(high)}]</small>`}`;
  };
  return html`<section class="card pane">
    <h2>Is it in the text or in the cache?</h2>
    <div class="figures"><table data-table="crossings">
      <thead>
        <tr><th rowspan="2">read</th>${CONTINUED.map(([where, name]) => html`<th key=${where} colspan="2">${name}</th>`)}</tr>
        <tr>${CONTINUED.map(([where]) => ["text", "cache"].map((of) => html`<th key=${where + of}>${of}</th>`))}</tr>
      </thead>
      <tbody>${keys.map((key) => html`<tr key=${key}><td>${key}${key === chosen && html` <small>steered here</small>`}</td>
        ${CONTINUED.map(([where]) => ["text", "cache"].map((of) => html`<td key=${where + of} data-figure=${`${where}-${of}-${key}`}>${effect(where, of, key)}</td>`))}
      </tr>`)}</tbody>
    </table></div>
    <p class="note">How much higher the mean projection on the next ${found.tokens} tokens is, in residual-stream units. Text: after a text that was written under steering, against one that was not. Cache: where the cache of that text was made under steering, against one made without; at the steered layer it cannot differ on equal tokens. ${ofPrompts(run) > 1 && "In brackets 95 % intervals that resample prompts. "}${found.failed > 0 && `${found.failed} of ${found.rows} rows failed and are left out.`}</p>
  </section>`;
}

const ofPrompts = (run) => new Set(run.units).size;

export function Persistence({ runs, theme }) {
  const [place, setPlace] = useState(0);
  const run = runs[place];
  const keys = Object.keys(run.alphas);
  const [asked, setChosen] = useState(run.ranking[0]?.direction);
  const chosen = keys.includes(asked) ? asked : keys[0];
  const [askedRead, setRead] = useState(null);
  const read = run.read.includes(askedRead) ? askedRead : chosen;
  const lines = ARMS.map(([kind, cache, name], index) => {
    const curve = run.arms.find((arm) => arm.kind === kind && arm.cache === cache && arm.direction === chosen)?.curves[read];
    return curve && {
      name, colour: lineColour(index),
      points: curve.mean.map((value, token) => [token, value]),
      band: curve.low && curve.mean.map((_, token) => [token, curve.low[token], curve.high[token]]),
    };
  }).filter(Boolean);
  return html`
    <div class="bar card">
      ${runs.length > 1 && html`<label>run
        <select aria-label="run" value=${place} onChange=${(e) => setPlace(Number(e.target.value))}>
          ${runs.map((each, index) => html`<option value=${index}>${each.title}</option>`)}
        </select></label>`}
      <label>steered with
        <select aria-label="steered with" value=${chosen} onChange=${(e) => setChosen(e.target.value)}>
          ${keys.map((key) => html`<option value=${key}>${key}</option>`)}
        </select></label>
      <label>read
        <select aria-label="read" value=${read} onChange=${(e) => setRead(e.target.value)}>
          ${run.read.map((key) => html`<option value=${key}>${key}</option>`)}
        </select></label>
      <span class="note">steered while ${run.n_steer} tokens were chosen; rows paired with those of no steering</span>
    </div>
    <div class="panes">
    <section class="card pane">
      <h2>Projection on ${read} above no steering</h2>
      <${Lines} label="projection after steering" theme=${theme} lines=${lines} xName="tokens after steering stopped" yName="" marked=${null} />
      <p class="note">Means over rows${ofPrompts(run) > 1 && ", with 95 % bands that resample prompts"}, in residual-stream units. 0 is where a row would be had it never been steered.</p>
    </section>
    <${Ranking} run=${run} chosen=${chosen} onChoose=${setChosen} />
    <${Crossings} run=${run} chosen=${chosen} />
    <${Texts} run=${run} chosen=${chosen} />
    </div>`;
}
